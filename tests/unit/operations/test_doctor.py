"""Each verdict of the doctor, on machines that are described and not needed."""

import os
import socket
from pathlib import Path

import pytest

from recray.operations import doctor
from recray.operations.conflicts import conflicts
from recray.operations.doctor import GIB, Machine
from recray.operations.finding import Finding
from recray.settings import Settings, resolve

ROOMY = Machine(n_cpus=8, memory_bytes=32 * GIB, disk_bytes=100 * GIB, shm_bytes=8 * GIB)


def statuses(findings: object) -> dict[str, str]:
    return {finding.name: finding.status for finding in findings}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("version", "status"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 1), "ok")])
def test_python_must_be_new_enough(version: tuple[int, ...], status: str) -> None:
    assert doctor.python(version).status == status


def test_packages_are_held_against_what_the_installation_requires() -> None:
    required = ["Ray[serve]==2.60.0", "numpy>=2.2", "typing_extensions>=4", 'ruff>=1; extra == "dev"']
    installed = {"ray": "2.60.0", "numpy": "2.4.6", "typing-extensions": "4.16.0", "xgboost-cpu": "3.2.0"}
    assert list(doctor.packages(required, installed)) == [
        Finding("packages", "ok", "3 as required"),
        Finding("XGBoost", "ok", "xgboost-cpu"),
    ]


def test_package_of_another_version_or_missing_is_named_with_its_cure() -> None:
    found = list(doctor.packages(["ray==2.60.0", "numpy>=2.2"], {"ray": "2.59.0", "xgboost": "3.2.0"}))
    assert found[:2] == [
        Finding("ray", "fail", "2.59.0", "recray needs ==2.60.0: pip install 'ray==2.60.0'"),
        Finding("numpy", "fail", "not installed", "pip install 'numpy>=2.2'"),
    ]
    assert "packages" not in statuses(found)


@pytest.mark.parametrize(("installed", "status"), [(["xgboost", "xgboost-cpu"], "fail"), ([], "fail"), (["xgboost"], "ok")])
def test_exactly_one_xgboost_is_installed(installed: list[str], status: str) -> None:
    assert statuses(doctor.packages([], dict.fromkeys(installed, "3.2.0")))["XGBoost"] == status


def test_a_roomy_machine_has_nothing_to_say() -> None:
    assert set(statuses(doctor.sizes(ROOMY, GIB)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (Machine(1, 32 * GIB, 100 * GIB, 8 * GIB), "CPUs"),
        (Machine(8, GIB, 100 * GIB, 8 * GIB), "memory"),
        (Machine(8, 32 * GIB, GIB, 8 * GIB), "disk"),
        (Machine(8, 32 * GIB, 100 * GIB, 64 << 20), "shared memory"),
    ],
)
def test_a_small_machine_is_warned_of_what_is_small(machine: Machine, name: str) -> None:
    found = statuses(doctor.sizes(machine, GIB))
    assert [each for each, status in found.items() if status != "ok"] == [name]


def test_machine_without_shared_memory_is_not_asked_for_it() -> None:
    assert "shared memory" not in statuses(doctor.sizes(Machine(8, 32 * GIB, 100 * GIB, None), GIB))


def test_port_that_something_listens_on_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert doctor.port("serving", number, doctor._is_free(number)).status == "warn"
    assert doctor.port("serving", number, doctor._is_free(number)).status == "ok"


def test_server_from_a_wheel_must_be_there_and_executable(tmp_path: Path) -> None:
    file = tmp_path / "haproxy"
    file.touch(mode=0o644)
    assert doctor.binary("HAProxy", None, "warn").status == "warn"
    if os.geteuid() != 0 or not os.access(file, os.X_OK):
        assert doctor.binary("HAProxy", file, "warn").status == "fail"
    file.chmod(0o755)
    assert doctor.binary("HAProxy", file, "warn") == Finding("HAProxy", "ok", str(file))


def test_binary_is_sought_in_its_package() -> None:
    assert doctor._binary("recray", "py.typed") is not None
    assert doctor._binary("recray", "no-such-file") is None
    assert doctor._binary("no_such_package_at_all", "x") is None


def test_champion_must_name_a_bundle_that_is_there(tmp_path: Path) -> None:
    assert doctor.bundle(tmp_path).status == "warn"
    (tmp_path / "aliases").mkdir()
    (tmp_path / "aliases" / "champion").write_text("20261122T000000-abcdef\n")
    assert doctor.bundle(tmp_path).status == "fail"
    (tmp_path / "bundles" / "20261122T000000-abcdef").mkdir(parents=True)
    (tmp_path / "bundles" / "20261122T000000-abcdef" / "manifest.json").write_text("{}")
    assert doctor.bundle(tmp_path) == Finding("bundle", "ok", "20261122T000000-abcdef in charge")


def test_imported_sets_are_named(tmp_path: Path) -> None:
    assert doctor.sets(tmp_path / "nowhere").status == "warn"
    (tmp_path / "ml-100k").mkdir()
    (tmp_path / "ml-100k" / "manifest.json").write_text("{}")
    assert doctor.sets(tmp_path) == Finding("data", "ok", "ml-100k")


@pytest.mark.parametrize(
    ("wanted", "gpu", "status"), [(False, None, "ok"), (True, "H200", "ok"), (True, None, "fail"), (False, "H200", "warn")]
)
def test_settings_and_machine_agree_on_the_gpu(wanted: bool, gpu: str | None, status: str) -> None:
    assert doctor.accelerator(wanted, gpu, 2).status == status


@pytest.mark.parametrize(
    ("environment", "has_token", "expected"),
    [
        ({}, False, {"environment": "ok"}),
        ({"RAY_AUTH_MODE": "disabled"}, True, {"environment": "ok"}),
        ({}, True, {"RAY_AUTH_MODE": "warn"}),
        ({"RAY_AUTH_MODE": "token"}, False, {"RAY_AUTH_MODE": "fail"}),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, False, {"environment": "ok"}),
        (
            {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "0"},
            False,
            {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "warn"},
        ),
        ({"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}, False, {"environment": "ok"}),
        ({"RAY_SERVE_LOG_ENCODING": "JSON"}, False, {"RAY_SERVE_LOG_ENCODING": "warn"}),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, False, {"RAY_ADDRESS": "warn"}),
        ({"OMP_NUM_THREADS": "16"}, False, {"OMP_NUM_THREADS": "warn"}),
        ({"OMP_NUM_THREADS": "8"}, False, {"environment": "ok"}),
    ],
)
def test_environment_that_contradicts_itself_is_named(
    environment: dict[str, str], has_token: bool, expected: dict[str, str]
) -> None:
    assert statuses(conflicts(environment, 8, has_token)) == expected


def test_examining_this_machine_finds_its_parts_and_changes_nothing(tmp_path: Path) -> None:
    settings: Settings = resolve({"home": str(tmp_path / "var"), "serving": {"port": 0}})
    found = doctor.examine(settings, {"HOME": str(tmp_path)})
    assert {"Python", "XGBoost", "CPUs", "memory", "disk", "HAProxy", "Valkey", "bundle", "data", "torch"} <= set(
        statuses(found)
    )
    assert all(finding.advice for finding in found if finding.status != "ok")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "mode", "status"),
    [
        ("127.0.0.1", "token", "ok"),
        ("localhost", "token", "ok"),
        ("127.0.0.1", "disabled", "warn"),
        ("0.0.0.0", "token", "warn"),
    ],
)
def test_what_other_machines_reach_is_named(host: str, mode: str, status: str) -> None:
    found = doctor.reach(host, mode)
    assert found.status == status
    assert ("HAProxy" in found.found + found.advice) == (host != "0.0.0.0")

"""What Ray is started with on one machine: loopback, and ports that no other application has."""

import socket
from pathlib import Path

import pytest

from recray.serving import environment
from recray.serving.environment import FALLBACK_PORTS, ON_LOOPBACK, UNWATCHED, prepare
from recray.settings.reach import HAPROXY_PORTS


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No cluster runs on this machine unless its address file is written."""
    file = tmp_path / "ray_current_cluster"
    monkeypatch.setattr(environment, "_RUNNING_CLUSTER", file)
    return file


def prepared(**given: str) -> dict[str, str]:
    prepare(given)
    return given


@pytest.mark.parametrize(("name", "value"), [ON_LOOPBACK, UNWATCHED])
def test_what_holds_for_the_only_machine_is_set_unless_a_cluster_is_joined(alone: Path, name: str, value: str) -> None:
    assert prepared()[name] == value
    assert name not in prepared(RAY_ADDRESS="10.0.0.1:6379")
    alone.write_text("10.0.0.1:6379")
    assert name not in prepared()


def test_ray_on_one_machine_asks_for_a_token_that_nobody_else_knows(alone: Path) -> None:
    one, other = prepared(), prepared()
    assert one["RAY_AUTH_MODE"] == "token"
    assert len(one["RAY_AUTH_TOKEN"]) == 64
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]
    assert "RAY_AUTH_TOKEN" not in prepared(RAY_AUTH_MODE="disabled")
    assert "RAY_AUTH_TOKEN" not in prepared(RAY_AUTH_TOKEN_PATH="/etc/token")
    alone.write_text("10.0.0.1:6379")
    assert "RAY_AUTH_TOKEN" not in prepared()


def test_what_is_set_is_left_alone() -> None:
    assert prepared(RAY_SERVE_HAPROXY_NBTHREAD="4")["RAY_SERVE_HAPROXY_NBTHREAD"] == "4"


def test_two_applications_get_ports_of_their_own_and_a_free_one_that_was_given_stays() -> None:
    one, names = prepared(), (*HAPROXY_PORTS, *FALLBACK_PORTS)
    ports = {one[name] for name in names}
    assert len(ports) == len(names)
    assert {prepared(**one)[name] for name in names} == ports
    for taken in names:
        with socket.socket() as other:
            other.bind(("", int(one[taken])))
            other.listen()
            assert prepared(**one)[taken] != one[taken]


def test_a_process_keeps_its_block_of_ports_to_itself() -> None:
    least, end = (int(prepared()[f"RAY_SERVE_DIRECT_INGRESS_{bound}_HTTP_PORT"]) for bound in ("MIN", "MAX"))
    again = int(prepared()["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"])
    assert (again, end - least) == (least, 99)
    assert not environment.is_free(end, "")  # where any other process looks before it takes the block
    assert prepared(RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT="1")["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] == "1"

"""The files of `ray up`: accepted by Ray's own reader, the same environment on every machine, no port twice."""

import copy
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.exceptions import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
FILES = ("cluster.yaml", "cluster.local.yaml")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
ENVIRONMENT = {
    "PATH",
    "PYTHONPATH",
    "RECRAY_SETTINGS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_SERVE_ENABLE_HA_PROXY",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED",
    "RAY_SERVE_HAPROXY_NBTHREAD",
    "RAY_SERVE_HAPROXY_RETRY_ON",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S",
    "OMP_NUM_THREADS",
}
SERVE_PORTS = (range(30_000, 31_001), range(40_000, 41_001))


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def start(config: dict[str, Any], which: str) -> str:
    """The one command of a list that starts Ray."""
    (command,) = [command for command in config[which] if "ray start" in command]
    return command


def exported(command: str) -> dict[str, str]:
    (line,) = re.findall(r"export (.*?);", command)
    return dict(word.split("=", 1) for word in shlex.split(line))


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_ray_refuses_a_planted_error(name: str) -> None:
    config = read(name)
    config["head_start_commands"] = config.pop("head_start_ray_commands")
    with pytest.raises(ValidationError, match="head_start_commands"):
        validate_config(prepare_config(config))


def test_head_that_is_not_a_declared_type_is_refused() -> None:
    config = read("cluster.yaml")
    config["head_node_type"] = "haed"
    with pytest.raises(ValueError, match="head_node_type"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("name", FILES)
def test_every_start_command_exports_the_whole_environment_with_the_same_values(name: str) -> None:
    config = read(name)
    head, worker = (exported(start(config, which)) for which in STARTS)
    assert head == worker
    assert set(head) == ENVIRONMENT


def test_a_variable_missing_on_workers_would_be_seen() -> None:
    config = copy.deepcopy(read("cluster.yaml"))
    command = start(config, "worker_start_ray_commands")
    assert set(exported(command.replace("RAY_SERVE_ENABLE_HA_PROXY=1", ""))) != ENVIRONMENT


@pytest.mark.parametrize("name", FILES)
def test_token_is_required_and_handed_to_every_machine(name: str) -> None:
    config = read(name)
    found = exported(start(config, STARTS[0]))
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN_PATH"].replace("$HOME", "~") in config["file_mounts"]


@pytest.mark.parametrize("name", FILES)
def test_dashboard_answers_the_head_alone(name: str) -> None:
    config = read(name)
    assert "--dashboard-host=127.0.0.1" in start(config, STARTS[0])
    opened = config["provider"].get("security_group", {}).get("IpPermissions", [])
    assert all(rule["FromPort"] == rule["ToPort"] == 8_000 for rule in opened)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("which", STARTS)
def test_no_port_is_asked_for_twice(name: str, which: str) -> None:
    flags = dict(re.findall(r"--([\w-]*port)=(\d+)", start(read(name), which)))
    workers = range(int(flags.pop("min-worker-port")), int(flags.pop("max-worker-port")) + 1)
    taken = [int(port) for port in flags.values()] + [8_000, 8_404, 9_101]
    assert len(set(taken)) == len(taken)
    for ports in SERVE_PORTS:
        assert not set(workers) & set(ports)
        assert not set(taken) & (set(ports) | set(workers))


@pytest.mark.parametrize("name", FILES)
def test_what_is_handed_over_lies_in_the_checkout(name: str) -> None:
    built, secret = {"dist"}, "~"
    for local in read(name)["file_mounts"].values():
        assert local in built or local.startswith(secret) or (ROOT / local).exists(), local


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("which", ["setup_commands", *STARTS])
def test_every_command_is_valid_shell(name: str, which: str) -> None:
    for command in read(name)[which]:
        subprocess.run(["bash", "-n", "-c", command], check=True, env=dict(os.environ), timeout=10)


def test_head_takes_no_work_and_trainers_are_spot() -> None:
    kinds = read("cluster.yaml")["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in kinds["head"]["node_config"]
    assert "InstanceMarketOptions" not in kinds["serving"]["node_config"]
    assert kinds["training"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert kinds["training"]["resources"]["GPU"] == 1

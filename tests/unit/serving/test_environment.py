"""What Ray is started with on one machine: loopback, and ports that no other application has."""

import socket
from pathlib import Path

import pytest

from recray.serving import environment
from recray.serving.environment import HAPROXY_PORTS, ON_LOOPBACK, prepare


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No cluster runs on this machine unless its address file is written."""
    file = tmp_path / "ray_current_cluster"
    monkeypatch.setattr(environment, "_RUNNING_CLUSTER", file)
    return file


def prepared(**given: str) -> dict[str, str]:
    prepare(given)
    return given


def test_ray_takes_loopback_for_its_address_unless_a_cluster_is_joined(alone: Path) -> None:
    name, value = ON_LOOPBACK
    assert prepared()[name] == value
    assert name not in prepared(RAY_ADDRESS="10.0.0.1:6379")
    alone.write_text("10.0.0.1:6379")
    assert name not in prepared()


def test_what_is_set_is_left_alone() -> None:
    assert prepared(RAY_SERVE_HAPROXY_NBTHREAD="4")["RAY_SERVE_HAPROXY_NBTHREAD"] == "4"


def test_two_applications_get_ports_of_their_own_and_a_free_one_that_was_given_stays() -> None:
    one = prepared()
    ports = {one[name] for name in HAPROXY_PORTS}
    assert len(ports) == len(HAPROXY_PORTS)
    assert {prepared(**one)[name] for name in HAPROXY_PORTS} == ports
    taken = next(iter(HAPROXY_PORTS))
    with socket.socket() as other:
        other.bind(("", int(one[taken])))
        other.listen()
        assert prepared(**one)[taken] != one[taken]

"""The promise of this folder: no Ray, no network, no wall clock. What breaks it fails by name."""

import socket
import sys
import time
from typing import Any, NoReturn

import pytest

_ours = ("recray", "test")
_clock = time.time


def _refuse(what: str) -> NoReturn:
    raise AssertionError(f"a unit test reached for {what}; pass the part in, or move the test to tests/integration")


def _no_ray(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("ray.init")


def _no_clock() -> float:
    """Refuse our own code; libraries may stamp their log records."""
    if sys._getframe(1).f_globals.get("__name__", "").startswith(_ours):
        _refuse("the wall clock")
    return _clock()


class LocalSocket(socket.socket):
    """A socket that reaches no other process over the network; event loops need their socket pair."""

    def connect(self, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            _refuse(f"the network at {address}")
        super().connect(address)

    def connect_ex(self, address: Any) -> int:
        if self.family != socket.AF_UNIX:
            _refuse(f"the network at {address}")
        return super().connect_ex(address)


@pytest.fixture(autouse=True)
def only_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a Ray start, a network connection, and a look at the clock raise."""
    monkeypatch.setattr(socket, "socket", LocalSocket)
    monkeypatch.setattr(time, "time", _no_clock)
    monkeypatch.setattr("ray.init", _no_ray)

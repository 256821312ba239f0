"""Who is compared, how each is started and stopped, and which of its processes count."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from recray.bench.per_core import HOST
from recray.bench.prepared import Prepared
from recray.bench.processes import MARK, members
from recray.errors import DataError
from recray.serving.environment import free_ports

_START_S: Final = 180.0
_STOP_S: Final = 60.0
_ASK_S: Final = 30.0
_PAUSE_S: Final = 0.2
_STATS_PORT: Final = "RAY_SERVE_HAPROXY_STATS_PORT"
Command = Callable[[Prepared, int, int], list[str]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One side of the comparison: its command line for (what is prepared, port, cores), and what it is."""

    name: str
    command: Command
    about: str


def served(topology: str, prepared: Prepared, port: int, differences: dict[str, Any]) -> list[str]:
    """The command line of the application, with differences of its serving settings."""
    file = prepared.settings_file(**differences)
    options = ["--topology", topology, "--port", str(port), "--settings", str(file)]
    return [sys.executable, "-m", "recray.cli", "serve", *options]


def _fused(prepared: Prepared, port: int, cores: int) -> list[str]:
    gateway = prepared.settings.serving.gateway.model_dump() | {"min_replicas": cores, "max_replicas": cores}
    return served("fused", prepared, port, {"gateway": gateway})


def _composed(prepared: Prepared, port: int, cores: int) -> list[str]:
    return served("composed", prepared, port, {})


def _plain(module: str) -> Command:
    def command(prepared: Prepared, port: int, cores: int) -> list[str]:
        prepared.settings_file()
        return [sys.executable, "-m", "recray.bench.per_core", f"recray.bench.{module}", str(port), str(cores)]

    return command


CONTESTANTS: Final = {
    one.name: one
    for one in (
        Contestant("fused", _fused, "Ray Serve: one deployment, a replica per core; requests that wait are batched"),
        Contestant("composed", _composed, "Ray Serve: a deployment per stage, replicas as the settings say"),
        Contestant("monolith", _plain("monolith"), "FastAPI process per core, torch module, one at a time; logs no slates"),
        Contestant("monolith_tuned", _plain("monolith_tuned"), "FastAPI process per core, recray's stages one at a time"),
    )
}


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant that answers. `roots` and `mark` tell its processes and the store's; HAProxy's figures: `stats_port`."""

    port: int
    roots: list[int]
    mark: str
    stats_port: int

    def ask(self, path: str) -> dict[str, Any] | None:
        """A whole answer; None when it failed or names a degraded stage."""
        try:
            with urlopen(f"http://{HOST}:{self.port}{path}", timeout=_ASK_S) as reply:  # loopback only
                body: dict[str, Any] = msgspec.json.decode(reply.read())
        except (URLError, OSError, HTTPException, msgspec.DecodeError):
            return None
        return None if body.get("degraded") else body


@contextmanager
def running(contestant: Contestant, prepared: Prepared, cores: int, paths: Sequence[str]) -> Iterator[Running]:
    """A contestant from its start until its last process has ended.

    Raises:
        DataError: it did not answer in time, with the end of what it said.
    """
    (port, stats_port), mark = islice(free_ports(), 2), secrets.token_hex(8)
    command = contestant.command(prepared, port, cores)
    log = prepared.folder / f"{contestant.name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            env=_environment(prepared, mark) | {_STATS_PORT: str(stats_port)},
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        started = Running(port, [process.pid, prepared.store_pid], mark, stats_port)
        _await_answers(contestant.name, process, started, paths, log)
        yield started
    finally:
        _stop(process, mark)


def _environment(prepared: Prepared, mark: str) -> dict[str, str]:
    """This process's without settings of its own, which would win over the file's; one thread per process for all alike."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECRAY_")}
    own = {"RECRAY_SETTINGS": str(prepared.folder / "settings.yaml"), "OMP_NUM_THREADS": "1", MARK: mark}
    return inherited | own


def _await_answers(name: str, process: "subprocess.Popen[bytes]", started: Running, paths: Sequence[str], log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while started.ask(paths[0]) is None:
        if process.poll() is not None or time.monotonic() > deadline_s:
            tail = log.read_text(errors="replace")[-1_500:]
            raise DataError(f"{name} did not answer within {_START_S:.0f} s; the end of what it said: {tail}")
        time.sleep(_PAUSE_S)


def _stop(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """End a contestant by its own way out, then whatever of it is left."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline_s = time.monotonic() + _STOP_S
    number = signal.SIGTERM
    while (left := members((), mark)) and time.monotonic() < deadline_s:
        for pid in left:
            _signal(pid, number)
        time.sleep(1.0)
        number = signal.SIGKILL


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

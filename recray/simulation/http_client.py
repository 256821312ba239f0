"""A keep-alive HTTP/1.1 connection for load: one request at a time over a raw socket, and next to nothing done per answer."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from recray.errors import ConfigError

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_UNTOLD: Final = 1 << 62
"""Length of an answer in chunks: nobody but a proxy without an application sends one, and its body says only that."""
_CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_DEGRADED: Final = b'"degraded":["'
_TIMEOUT_S: Final = 30.0
_PORT: Final = 80


class Reply(NamedTuple):
    """Status (0: the connection broke or timed out), and whether the answer names a degraded stage.

    `body` is empty unless the connection keeps bodies; `retry_after_s` is read from answers with status 503 alone.
    """

    status: int
    degraded: bool
    retry_after_s: float | None = None
    body: bytes = b""


_BROKEN: Final = Reply(0, False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where load goes."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    @property
    def authority(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @staticmethod
    def at(url: str, *, allow_remote: bool = False) -> "Target":
        """The host and port of a URL; loopback only, unless remote ones are allowed.

        Raises:
            ConfigError: not an http URL of a host alone, or another machine without permission.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or _PORT
        except ValueError as problem:
            raise ConfigError(f"target is {url!r}: {problem}; expected http://host:port") from problem
        if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query:
            raise ConfigError(f"target is {url!r}; expected http://host:port, without TLS and without a path")
        if not (allow_remote or _is_loopback(host)):
            raise ConfigError(
                f"target {url} is not this machine; load can take a service down and its feedback becomes real history, "
                "so only loopback is asked: add --allow-remote if that service is yours to load"
            )
        return Target(host, port)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Protocol(asyncio.Protocol):
    """Collects one answer of known length. State: the bytes so far and the caller that waits."""

    def __init__(self, keeps_body: bool) -> None:
        self.reply: asyncio.Future[Reply] | None = None
        self.lost = False
        self._keeps_body = keeps_body
        self._got = bytearray()
        self._head = self._end = 0

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._end:
            self._head = self._got.find(_HEAD_END)
            if self._head < 0:
                return
            length = _LENGTH.search(self._got, 0, self._head + 2)
            chunked = _CHUNKED.search(self._got, 0, self._head + 2)
            self._end = self._head + len(_HEAD_END) + (int(length[1]) if length else _UNTOLD if chunked else 0)
        if self._end >= _UNTOLD and self._got.endswith(_LAST_CHUNK):
            self._end = len(self._got)
        if len(self._got) >= self._end:
            self._settle(self._read())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._settle(_BROKEN)

    def _read(self) -> Reply:
        status, after_s = int(self._got[9:12]), None
        # A server that leaves says so; asking on the same connection would break a request that it never saw.
        self.lost |= _CLOSES.search(self._got, 0, self._head + 2) is not None
        if status == 503:
            told = _RETRY_AFTER.search(self._got, 0, self._head + 2)
            after_s = float(told[1]) if told else None
        body = bytes(self._got[self._head + len(_HEAD_END) : self._end]) if self._keeps_body else b""
        return Reply(status, _DEGRADED in self._got, after_s, body)

    def _settle(self, reply: Reply) -> None:
        self._got.clear()
        self._head = self._end = 0
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(reply)


class Connection:
    """A `loops.Line` to one server; connects at the first request and anew after a loss.

    One that was idle for more than `most_idle_s` is closed before it is used again: servers close idle connections themselves,
    and a request that meets that moment would break without fault of anyone.
    """

    def __init__(self, host: str, port: int, *, keeps_body: bool = False, most_idle_s: float = inf) -> None:
        self._target, self._keeps_body, self._most_idle_s = Target(host, port), keeps_body, most_idle_s
        self._transport: asyncio.Transport | None = None
        self._protocol = _Protocol(keeps_body)
        self._used_s = -inf

    async def open(self) -> None:
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        self.close()
        loop, target = asyncio.get_running_loop(), self._target
        self._transport, self._protocol = await loop.create_connection(
            lambda: _Protocol(self._keeps_body), target.host, target.port
        )
        self._used_s = loop.time()

    async def get(self, path: str) -> Reply:
        """The reply to a GET."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: {self._target.authority}\r\n\r\n".encode("ascii"))

    async def post(self, path: str, body: bytes) -> Reply:
        """The reply to a POST of JSON."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._target.authority}\r\nContent-Type: application/json\r\n"
        return await self._exchange(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)

    async def _exchange(self, request: bytes) -> Reply:
        loop = asyncio.get_running_loop()
        try:
            if self._transport is None or self._protocol.lost or loop.time() - self._used_s > self._most_idle_s:
                await asyncio.wait_for(self.open(), _TIMEOUT_S)
            assert self._transport is not None
            self._protocol.reply = loop.create_future()
            self._transport.write(request)
            reply = await asyncio.wait_for(self._protocol.reply, _TIMEOUT_S)
        except (OSError, TimeoutError):
            self.close()
            # A server that refuses must not be asked thousands of times a second.
            await asyncio.sleep(0.01)
            return _BROKEN
        self._used_s = loop.time()
        return reply

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = None


@asynccontextmanager
async def connected(target: Target, n: int) -> AsyncIterator[list[Connection]]:
    """So many open connections, closed at the end.

    Raises:
        OSError: nobody listens.
    """
    connections = [Connection(target.host, target.port) for _ in range(n)]
    try:
        await asyncio.gather(*(connection.open() for connection in connections))
        yield connections
    finally:
        for connection in connections:
            connection.close()

"""A keep-alive HTTP/1.1 connection for load: one GET at a time over a raw socket, and next to nothing done per answer."""

import asyncio
import re
from typing import Final, NamedTuple

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_DEGRADED: Final = b'"degraded":["'
_TIMEOUT_S: Final = 30.0


class Reply(NamedTuple):
    """Status (0: the connection broke or timed out), and whether the answer names a degraded stage."""

    status: int
    degraded: bool


_BROKEN: Final = Reply(0, False)


class _Protocol(asyncio.Protocol):
    """Collects one answer of known length. State: the bytes so far and the caller that waits."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[Reply] | None = None
        self.lost = False
        self._got = bytearray()
        self._end = 0

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._end:
            head = self._got.find(_HEAD_END)
            if head < 0:
                return
            length = _LENGTH.search(self._got, 0, head + 2)
            self._end = head + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._got) >= self._end:
            self._settle(Reply(int(self._got[9:12]), _DEGRADED in self._got))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._settle(_BROKEN)

    def _settle(self, reply: Reply) -> None:
        self._got.clear()
        self._end = 0
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(reply)


class Connection:
    """A `load.Line` to one server; connects anew after a loss."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None
        self._protocol = _Protocol()

    async def open(self) -> None:
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        loop = asyncio.get_running_loop()
        self._transport, self._protocol = await loop.create_connection(_Protocol, self._host, self._port)

    async def get(self, path: str) -> Reply:
        try:
            if self._transport is None or self._protocol.lost:
                await self.open()
            assert self._transport is not None
            self._protocol.reply = asyncio.get_running_loop().create_future()
            self._transport.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode("ascii"))
            return await asyncio.wait_for(self._protocol.reply, _TIMEOUT_S)
        except (OSError, TimeoutError):
            self.close()
            # A server that refuses must not be asked thousands of times a second.
            await asyncio.sleep(0.01)
            return _BROKEN

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = None

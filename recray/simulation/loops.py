"""Closed and open loops over any kind of line, and the latencies that they met.

Open-loop latency counts from the moment a request was meant to be sent, whether or not a connection was free then, so that
a server that stalls cannot hide the requests that would have come meanwhile (coordinated omission).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

from recray.simulation.http_client import Reply

T = TypeVar("T")
_DRAIN_S: Final = 10.0
"""How long answers that are late are waited for, after the last request was due."""


@dataclass
class Outcome:
    """What a load met. `answered` counts status 200; latencies are those of every request, failed ones included.

    `failed` counts the others by status, 0 being a connection that broke or an answer that never came.
    """

    answered: int = 0
    degraded: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    failed: Counter[int] = field(default_factory=Counter)

    @property
    def errors(self) -> int:
        return self.failed.total()

    def add(self, reply: Reply, latency_s: float) -> None:
        if reply.status == 200:
            self.answered += 1
        else:
            self.failed[reply.status] += 1
        self.degraded += reply.degraded
        self.latencies_s.append(latency_s)

    def facts(self) -> dict[str, Any]:
        """Counts, seconds and percentiles as JSON values."""
        counts = {"answered": self.answered, "errors": self.errors, "failed": self.failed, "degraded": self.degraded}
        return counts | {"seconds": self.seconds, **percentiles_ms(self.latencies_s)}


class Line(Protocol):
    """One connection that carries one request at a time."""

    async def get(self, path: str) -> Reply:
        """The reply; status 0 when the connection broke."""
        ...


async def closed_loop(lines: Sequence[Line], paths: Sequence[str], seconds: float) -> Outcome:
    """Every line asks again as soon as it is answered, until the time is over; distinct paths in turn."""
    loop, outcome, todo = asyncio.get_running_loop(), Outcome(), cycle(paths)
    began = loop.time()

    async def ask(line: Line) -> None:
        while loop.time() - began < seconds:
            sent = loop.time()
            outcome.add(await line.get(next(todo)), loop.time() - sent)

    await asyncio.gather(*(ask(line) for line in lines))
    outcome.seconds = loop.time() - began
    return outcome


class Lanes(Generic[T]):
    """Requests with due moments over a fixed number of lines: whoever comes first is sent first, on the line free for longest.

    Each of `sends` carries one request at a time and does not raise. `answered` is called with request, due moment and reply.
    State: what waits for a line, what is sent and not answered. For one event loop.
    """

    def __init__(self, sends: Sequence[Callable[[T], Awaitable[Reply]]], answered: Callable[[T, float, Reply], None]) -> None:
        self._answered = answered
        self._waiting: deque[tuple[float, T]] = deque()
        self._idle: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._sent: dict[int, tuple[float, T]] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._servers = [asyncio.ensure_future(self._serve(number, send)) for number, send in enumerate(sends)]

    @property
    def under_way(self) -> int:
        """Requests that wait or are sent."""
        return len(self._waiting) + len(self._sent)

    def put(self, due_s: float, request: T) -> None:
        """Hand a request over that is due."""
        self._quiet.clear()
        if not self._idle:
            self._waiting.append((due_s, request))
            return
        number, free = self._idle.popleft()
        self._sent[number] = (due_s, request)
        free.set_result(None)

    def longest_waiting(self) -> tuple[float, T] | None:
        """Take back the request that waits for longest and was not sent; None when none waits."""
        return self._waiting.popleft() if self._waiting else None

    async def drained(self, seconds: float) -> None:
        """Wait until nothing is under way, at most so long.

        Raises:
            Exception: what `answered` raised.
        """
        quiet = asyncio.ensure_future(self._quiet.wait())
        done, _ = await asyncio.wait({quiet, *self._servers}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        quiet.cancel()
        for task in done:
            task.result()

    def close(self) -> list[tuple[float, T]]:
        """End the lines; what is still under way, first what was sent."""
        for server in self._servers:
            server.cancel()
        return [*self._sent.values(), *self._waiting]

    async def _serve(self, number: int, send: Callable[[T], Awaitable[Reply]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._waiting:
                self._sent[number] = self._waiting.popleft()
            else:
                free = loop.create_future()
                self._idle.append((number, free))
                await free
            due, request = self._sent[number]
            reply = await send(request)
            del self._sent[number]
            self._answered(request, due, reply)
            if not self.under_way:
                self._quiet.set()


async def open_loop(lines: Sequence[Line], paths: Sequence[str], due_s: Sequence[float], drain_s: float = _DRAIN_S) -> Outcome:
    """Requests at given offsets; one that finds every line busy waits, and its wait is part of its latency.

    What is unanswered `drain_s` after the last was due counts as an error with the latency it had reached.
    """
    loop, outcome = asyncio.get_running_loop(), Outcome()
    began = loop.time()
    lanes: Lanes[str] = Lanes([line.get for line in lines], lambda _, due, reply: outcome.add(reply, loop.time() - due))
    for offset, path in zip(due_s, cycle(paths), strict=False):
        if (early_s := began + offset - loop.time()) > 0:
            await asyncio.sleep(early_s)
        lanes.put(began + offset, path)
    await lanes.drained(drain_s)
    unanswered = lanes.close()
    outcome.failed.update([0] * len(unanswered))
    outcome.latencies_s += [loop.time() - due for due, _ in unanswered]
    outcome.seconds = loop.time() - began
    return outcome


def percentiles_ms(latencies_s: Any) -> dict[str, float | None]:
    """p50_ms and p99_ms: the smallest latency that at least that share of requests did not exceed; None without any."""
    if not len(latencies_s):
        return {"p50_ms": None, "p99_ms": None}
    found = np.percentile(latencies_s, [50, 99], method="inverted_cdf") * 1_000
    return {"p50_ms": round(float(found[0]), 3), "p99_ms": round(float(found[1]), 3)}

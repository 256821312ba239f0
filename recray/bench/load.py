"""Load from a process of its own: closed loop for the peak, open loop for latencies. Reads a job on stdin, writes JSON.

    python -m recray.bench.load < job.json

Open-loop latency counts from the moment a request was meant to be sent, whether or not a connection was free then, so that
a server that stalls cannot hide the requests that would have come meanwhile (coordinated omission).
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np

from recray.bench import wrk
from recray.bench.http_client import Connection, Reply
from recray.bench.processes import cpu_s

_DRAIN_S: Final = 10.0
"""How long answers that are late are waited for, after the last request was due."""
_MAX_ARRIVALS: Final = 2_000_000


class Job(msgspec.Struct, kw_only=True):
    """What to measure. `rate` per second is read by the open loop only; `roots` and `mark` say whose CPU time counts."""

    kind: Literal["closed", "open"]
    tool: Literal["wrk", "own"]
    host: str
    port: int
    paths: list[str]
    connections: int
    seconds: float
    rate: float = 0.0
    seed: int = 0
    roots: list[int] = msgspec.field(default_factory=list)
    mark: str = ""


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


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Poisson arrivals: offsets in [0, seconds) with exponential gaps, at most two million."""
    draws = np.random.default_rng(seed)
    expected = min(int(rate * seconds * 1.2) + 100, _MAX_ARRIVALS)
    offsets = np.cumsum(draws.exponential(1 / rate, expected))
    return [float(offset) for offset in offsets[offsets < seconds]]


async def open_loop(lines: Sequence[Line], paths: Sequence[str], due_s: Sequence[float], drain_s: float = _DRAIN_S) -> Outcome:
    """Requests at given offsets; one that finds every line busy waits, and its wait is part of its latency.

    What is unanswered `drain_s` after the last was due counts as an error with the latency it had reached.
    """
    loop, outcome = asyncio.get_running_loop(), Outcome()
    began = loop.time()
    waiting: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
    open_since: dict[int, float] = {}

    async def serve(number: int, line: Line) -> None:
        while True:
            due, path = await waiting.get()
            open_since[number] = due
            reply = await line.get(path)
            del open_since[number]
            outcome.add(reply, loop.time() - due)
            waiting.task_done()

    servers = [asyncio.ensure_future(serve(number, line)) for number, line in enumerate(lines)]
    for offset, path in zip(due_s, cycle(paths), strict=False):
        if (early_s := began + offset - loop.time()) > 0:
            await asyncio.sleep(early_s)
        waiting.put_nowait((began + offset, path))
    with suppress(TimeoutError):
        await asyncio.wait_for(waiting.join(), drain_s)
    for server in servers:
        server.cancel()
    unanswered = [*open_since.values(), *(waiting.get_nowait()[0] for _ in range(waiting.qsize()))]
    outcome.failed.update([0] * len(unanswered))
    outcome.latencies_s += [loop.time() - due for due in unanswered]
    outcome.seconds = loop.time() - began
    return outcome


def percentiles_ms(latencies_s: Sequence[float]) -> dict[str, float | None]:
    """p50_ms and p99_ms: the smallest latency that at least that share of requests did not exceed; None without any."""
    if not latencies_s:
        return {"p50_ms": None, "p99_ms": None}
    found = np.percentile(latencies_s, [50, 99], method="inverted_cdf") * 1_000
    return {"p50_ms": round(float(found[0]), 3), "p99_ms": round(float(found[1]), 3)}


async def _own(job: Job) -> dict[str, Any]:
    connections = [Connection(job.host, job.port) for _ in range(job.connections)]
    await asyncio.gather(*(connection.open() for connection in connections))
    try:
        if job.kind == "closed":
            outcome = await closed_loop(connections, job.paths, job.seconds)
        else:
            outcome = await open_loop(connections, job.paths, arrivals(job.rate, job.seconds, job.seed))
    finally:
        for connection in connections:
            connection.close()
    facts = {"answered": outcome.answered, "errors": outcome.errors, "failed": outcome.failed, "degraded": outcome.degraded}
    return facts | {"seconds": outcome.seconds, **percentiles_ms(outcome.latencies_s)}


def measured(job: Job) -> dict[str, Any]:
    """Counts, latencies and the servers' CPU time of one job; CPU is read at its very start and end."""
    before_s = cpu_s(job.roots, job.mark)
    if job.kind == "closed" and job.tool == "wrk":
        facts = wrk.run(f"http://{job.host}:{job.port}", job.paths, job.connections, job.seconds)
    else:
        facts = asyncio.run(_own(job))
    used_s = cpu_s(job.roots, job.mark) - before_s
    answered = facts["answered"]
    return facts | {
        "requests_per_s": round(answered / facts["seconds"], 2),
        "cpu_s": round(used_s, 3),
        "cpu_ms_per_request": round(used_s * 1_000 / answered, 4) if answered else None,
    }


def _lines(source: bytes) -> Iterator[bytes]:
    yield msgspec.json.encode(measured(msgspec.json.decode(source, type=Job)))


if __name__ == "__main__":
    sys.stdout.buffer.writelines(_lines(sys.stdin.buffer.read()))

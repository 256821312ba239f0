"""Load from a process of its own: closed loop for the peak, open loop for latencies. Reads a job on stdin, writes JSON.

python -m recray.bench.load < job.json
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from recray.bench.processes import cpu_s
from recray.simulation import wrk
from recray.simulation.http_client import Target, connected
from recray.simulation.loops import closed_loop, open_loop
from recray.simulation.rate import arrivals


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


async def _own(job: Job) -> dict[str, Any]:
    async with connected(Target(job.host, job.port), job.connections) as connections:
        if job.kind == "closed":
            outcome = await closed_loop(connections, job.paths, job.seconds)
        else:
            outcome = await open_loop(connections, job.paths, arrivals(job.rate, job.seconds, job.seed))
    return outcome.facts()


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

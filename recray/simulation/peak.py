"""The peak: as many requests a second as a server answers to so many connections that ask again at once."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from recray.errors import StoreError
from recray.simulation import wrk
from recray.simulation.http_client import Connection, Target, connected
from recray.simulation.loops import closed_loop
from recray.simulation.sessions import NOTHING, Crowd, Listed

_N_SCOUTS: Final = 20
_N_PATHS: Final = 5_000


def pages_asked(crowd: Crowd, n: int) -> list[str]:
    """Paths of so many pages as sessions ask for them, without their feedback."""

    def pages() -> Iterator[str]:
        for number in range(n):
            session = crowd.session(number)
            step = next(session, None)
            while step is not None:
                if step.ask is not None:
                    yield step.ask.path
                try:
                    step = session.send(NOTHING)
                except StopIteration:
                    step = None

    return [path for path, _ in zip(pages(), range(n), strict=False)]


async def peak(target: Target, crowd: Crowd, connections: int, seconds: float) -> dict[str, Any]:
    """Requests per second, latencies and errors of pages in the mixture of sessions, by wrk where it is installed.

    Feedback is left out: to ask again at once is no way of watching. Twenty homepages are asked first, for titles. `failed`
    leaves out status 503, which a server that is full may give; wrk does not tell one error from another.

    Raises:
        StoreError: nobody answers.
        DataError: wrk failed.
    """
    await _scout(target, crowd)
    paths = pages_asked(crowd, _N_PATHS)
    if wrk.installed():
        facts = await asyncio.to_thread(wrk.run, target.url, paths, connections, seconds)
        failed = facts["errors"]
    else:
        async with connected(target, connections) as lines:
            facts = (await closed_loop(lines, paths, seconds)).facts()
        failed = facts["errors"] - facts["failed"].get(503, 0)
    rate = round(facts["answered"] / facts["seconds"], 2)
    tool = "wrk" if wrk.installed() else "own"
    return {"tool": tool, "connections": connections, "requests_per_s": rate, **facts, "failed": failed}


async def _scout(target: Target, crowd: Crowd) -> None:
    connection = Connection(target.host, target.port, keeps_body=True)
    for number in range(_N_SCOUTS):
        ask = next(crowd.session(number)).ask
        assert ask is not None
        reply = await connection.get(ask.path)
        if reply.status == 0:
            raise StoreError(f"nothing answers at {target.url}; start it with 'recray serve'")
        if reply.status == 200:
            for strip in msgspec.json.decode(reply.body, type=Listed).strips():
                crowd.seen.add(strip)
    connection.close()

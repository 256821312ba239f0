"""A step of load up and down again: replicas come and go, and no request may notice."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from recray.bench.faults import THINK_S, Served, figures, serving
from recray.bench.prepared import Prepared
from recray.bench.victims import gateways_up
from recray.errors import ConfigError
from recray.settings import TrafficSettings
from recray.simulation.load import Plan as Load
from recray.simulation.load import drive
from recray.simulation.loops import percentiles_ms
from recray.simulation.rate import Piece, Rate

QUICK: Final = {
    "min_replicas": 1,
    "max_replicas": 2,
    "target_ongoing": 0.25,
    "upscale_delay_s": 1.0,
    "downscale_delay_s": 4.0,
    "look_back_s": 3.0,
}
"""Bounds under which a step of some seconds is enough; in production replicas are taken away more slowly."""
_LOOK_S: Final = 0.5
_SETTLED_S: Final = 5.0
"""Long enough for what a replica that goes still has in hand, and for connections of a HAProxy that was replaced."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """Requests per second that are few and many, and the longest wait for a second replica to come, and to go."""

    few: float
    many: float
    most_s: float
    seed: int

    def __post_init__(self) -> None:
        if not (0 < self.few < self.many <= 10_000 and 0 < self.most_s <= 600):
            raise ConfigError(f"few {self.few}, many {self.many}, most_s {self.most_s}; expected few < many, up to 600 s")


@contextmanager
def elastic(topology: str, prepared: Prepared) -> Iterator[Served]:
    """The champion served by one gateway replica, or two while there is load.

    Raises:
        DataError: it did not come up.
    """
    with serving(topology, prepared, QUICK) as ours:
        yield ours


async def step(ours: Served, asked: Step, say: Say) -> dict[str, Any]:
    """Requests by how they ended, and seconds from each step until the second replica had come and gone; None if never."""
    many = await _phase(ours, asked.few, asked.many, asked, n_wanted=2)
    say(f"the second replica came after {many['after_s']} s")
    few = await _phase(ours, asked.few, asked.few, asked, n_wanted=1)
    say(f"and went after {few['after_s']} s")
    facts = {"came_after_s": many.pop("after_s"), "went_after_s": few.pop("after_s")}
    return facts | {"many": many, "few": few, "failed": many["failed"] + few["failed"]}


async def _phase(ours: Served, before: float, rate: float, asked: Step, n_wanted: int) -> dict[str, Any]:
    """A load that ends some seconds after so many replicas are up, or when the patience is over."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    pieces = (Piece(before, before, _LOOK_S), Piece(rate, rate, asked.most_s + 2 * _SETTLED_S))
    load = Load(ours.viewers, Rate(pieces), asked.seed, secrets.token_hex(6), TrafficSettings(think_s=THINK_S))
    began_s, after_s = loop.time(), None
    driving = asyncio.ensure_future(drive(ours.target, load, stop=stop))
    while after_s is None and loop.time() - began_s < asked.most_s:
        await asyncio.sleep(_LOOK_S)
        if await asyncio.to_thread(gateways_up, ours.server.stats_port) == n_wanted:
            after_s = round(loop.time() - began_s, 1)
    await asyncio.sleep(_SETTLED_S)
    stop.set()
    traffic = await driving
    return {"after_s": after_s, **figures(traffic), **percentiles_ms(traffic.latency_s)}

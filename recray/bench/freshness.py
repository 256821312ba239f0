"""How soon a viewer's action is in that viewer's recommendations, and what becomes of every acknowledged event.

Feedback and recommendations at their moments; then feedback alone in batches, as fast as it goes; then the store, a gateway
and the sink killed while viewers go on. What was acknowledged is looked for once the application has ended (`kept`).
"""

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgspec

from recray.bench.faults import Plan as FaultPlan
from recray.bench.faults import Served, under, whole
from recray.bench.ledger import Ledger
from recray.bench.overload import Met, peak
from recray.bench.steady import Rates, figures, line_to, steady
from recray.bench.victims import Fault, processes
from recray.errors import ConfigError
from recray.schema import Action, word
from recray.simulation.http_client import Connection
from recray.simulation.sessions import FEEDBACK, FEEDBACK_PATH, Ask

SHARE: Final = 0.5
_UNDER_FAULTS: Final = 0.6
"""Of the pages per second before: what is left of two gateways has to do for all."""
BATCH: Final = 50
FAULTS: Final = (Fault("store", "killed", away_s=3.0), Fault("gateway", "killed"), Fault("sink", "killed"))
_BATCH_LINES: Final = 8
_MOST_KILLS: Final = 1_000
_REST_S: Final = 0.2
_GRAIN: Final = 64
"""Distinct values of progress: an event that differs in nothing within a second is another report of the same fact."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each phase lasts, events per second and which share of them is sampled, pages per second (0: half the peak).

    `kills` parts are killed one after another: the store, a gateway and the sink, and then whichever of them the seed draws.
    """

    seconds: float
    events: float
    sampled: float
    pages: float
    most_s: float
    seed: int
    kills: int = len(FAULTS)

    def __post_init__(self) -> None:
        if not (0 < self.seconds <= 600 and 0 < self.events <= 10_000 and 0 < self.sampled <= 1 and 0 <= self.pages <= 10_000):
            raise ConfigError(
                f"seconds {self.seconds}, events {self.events} and pages {self.pages} per s, sampled {self.sampled}; expected "
                "up to 600 s, up to 10000 per s, and a share above 0 and up to 1"
            )
        if not 0 <= self.kills <= _MOST_KILLS:
            raise ConfigError(f"kills {self.kills}; expected 0 to {_MOST_KILLS}")

    def victims(self) -> list[Fault]:
        """What is killed, in order."""
        more = random.Random(self.seed).choices(FAULTS, k=max(self.kills - len(FAULTS), 0))
        return [*FAULTS, *more][: self.kills]


async def measure(ours: Served, plan: Plan, say: Say) -> tuple[dict[str, Any], Ledger]:
    """Figures of all phases on the application that runs, and what was acknowledged in them."""
    await whole(ours)
    ledger, found, rate = Ledger(asyncio.get_running_loop().time), {}, plan.pages
    if not rate:
        found["peak"] = await peak(ours.target, ours.prepared.paths("homepage"), plan.seconds)
        rate = round(SHARE * found["peak"]["requests_per_s"], 2)
    found |= await steady(ours, ledger, Rates(rate, plan.events, plan.sampled, plan.seconds, plan.seed))
    span = found["event_to_recommendation_ms"]
    say(f"{plan.events:g} events/s beside {rate:g} pages/s: seen after {span['p50']} ms at p50, {span['p99']} ms at p99")
    found["intake"] = await _intake(ours, ledger, plan.seconds)
    say(f"batches of {BATCH}: {found['intake']['events_per_s']:,.0f} events/s")
    load = FaultPlan(_UNDER_FAULTS * rate, min(plan.seconds, 3.0), plan.most_s, min(plan.seconds, 3.0), plan.seed)
    found["faults"] = {}
    for number, fault in enumerate(plan.victims(), 1):
        await whole(ours)
        sinks = processes("sink", ours.server.mark)
        found["faults"][f"{number}: {fault.name}"] = one = await under(ours, ledger, fault, load)
        if fault.part == "sink":
            one["replaced"] = await _replaced(ours, sinks, plan.most_s)
        say(f"{number}: {fault.name}: {one['requests']:,} requests, {one['failed']} failed, {one['refused']} refused")
    return found, ledger


async def _intake(ours: Served, ledger: Ledger, seconds: float) -> dict[str, Any]:
    """Events per second that are acknowledged when a few lines send batches at once after one another."""
    loop, met, numbers = asyncio.get_running_loop(), Met(), count()
    lines = [line_to(ours) for _ in range(_BATCH_LINES)]
    run_id, began_s, before = secrets.token_hex(6), loop.time(), ledger.n_acknowledged

    async def send(line: Connection) -> None:
        post = ledger.sending(line)
        while loop.time() - began_s < seconds:
            sent_s, body = loop.time(), _batch(ours, run_id, next(numbers))
            reply = await post(Ask(FEEDBACK, FEEDBACK_PATH, body))
            met.add(reply, loop.time() - sent_s)
            if reply.status != 202:
                await asyncio.sleep(_REST_S)

    try:
        await asyncio.gather(*(send(line) for line in lines))
    finally:
        for line in lines:
            line.close()
    rate = (ledger.n_acknowledged - before) / (loop.time() - began_s)
    return {"events_per_s": round(rate, 1), "batch": BATCH, "connections": _BATCH_LINES, **figures(met)}


def _batch(ours: Served, run_id: str, number: int) -> bytes:
    """Fifty events, each of another profile while there are so many."""
    keys, events = ours.prepared.keys, []
    for place in range(number * BATCH, (number + 1) * BATCH):
        key, turn = keys[place % len(keys)], place // len(keys)
        events.append({
            "event_id": f"{run_id}-{place}", "user_id": key.user_id, "profile_id": key.profile_id,
            "content_id": ours.prepared.content_id, "action": word(Action.PROGRESS), "progress": turn % _GRAIN / (_GRAIN - 1),
        })  # fmt: skip
    return msgspec.json.encode(events)


async def _replaced(ours: Served, before: list[int], most_s: float) -> bool:
    """Whether a sink runs in another process than before, within the patience."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < most_s:
        if set(await asyncio.to_thread(processes, "sink", ours.server.mark)) - set(before):
            return True
        await asyncio.sleep(_REST_S)
    return False

"""Recommendations and feedback at their moments, open loop, with some of the events followed until an answer shows them."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

import numpy as np

from recray.bench.faults import Served
from recray.bench.ledger import Ledger
from recray.bench.overload import Met
from recray.bench.per_core import HOST
from recray.bench.shown import Shown, Told
from recray.schema import ProfileKey
from recray.simulation.http_client import Connection, Reply
from recray.simulation.loops import Lanes, percentiles_ms
from recray.simulation.rate import arrivals
from recray.simulation.traffic import Fate

_LEAD_S: Final = 1.0
"""Profiles have answers before events about them are due."""
_N_PAGES, _N_EVENTS, _N_SAMPLED = 128, 32, 64
_DRAIN_S: Final = 15.0
_IDLE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Pages and events per second, the share of events that is sampled, and for how many seconds."""

    pages: float
    events: float
    sampled: float
    seconds: float
    seed: int


def line_to(ours: Served) -> Connection:
    """A connection whose answers can be read."""
    return Connection(HOST, ours.server.port, keeps_body=True, most_idle_s=_IDLE_S)


async def steady(ours: Served, ledger: Ledger, rates: Rates) -> dict[str, Any]:
    """`event_to_recommendation_ms`, and figures of the events and of the recommendations by how they ended."""
    lines = [line_to(ours) for _ in range(_N_PAGES + _N_EVENTS + _N_SAMPLED)]
    shown = Shown(ledger, np.random.default_rng([rates.seed, 1]), secrets.token_hex(6))
    run = _Run(dict(zip(ours.prepared.keys, ours.prepared.paths("homepage"), strict=True)), shown, rates, lines)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    try:
        await run.drive()
        client = round((time.process_time() - began_cpu_s) / (time.perf_counter() - began_s), 3)
        n_again = await shown.shown_again(lines[0])
    finally:
        run.close()
        for line in lines:
            line.close()
    spans_s = [*shown.seen_s, *shown.unseen_s]
    span = percentiles_ms(spans_s)
    sampled = {"sampled": len(spans_s), "unseen": len(shown.unseen_s), "shown_again": n_again, "too_early": shown.n_too_early}
    return {
        "event_to_recommendation_ms": {"p50": span["p50_ms"], "p99": span["p99_ms"]},
        "events": {"rate_per_s": rates.events, **sampled, **figures(run.events)},
        "recommendations": {"rate_per_s": rates.pages, **figures(run.pages)},
        "client_cpu_share": client,
    }


def figures(met: Met) -> dict[str, Any]:
    """Requests by how they ended, and latencies of all of them."""
    every = met.of(*Fate)
    counts = {"requests": len(every), "degraded": len(met.of(Fate.DEGRADED)), "refused": len(met.of(Fate.TURNED_AWAY))}
    return counts | {"failed": met.n_failed, **percentiles_ms(every)}


@dataclass
class _Run:
    """One run. State: what was met so far, what is under way, and whose turn it is."""

    path_of: dict[ProfileKey, str]
    shown: Shown
    rates: Rates
    lines: Sequence[Connection]
    pages: Met = field(default_factory=Met)
    events: Met = field(default_factory=Met)

    def __post_init__(self) -> None:
        self._loop, self._asked = asyncio.get_running_loop(), cycle(self.path_of)
        self._rng = np.random.default_rng([self.rates.seed, 2])
        pages, events, sampled = np.split(np.array(self.lines, object), [_N_PAGES, _N_PAGES + _N_EVENTS])
        self._page_lanes: Lanes[ProfileKey] = Lanes([self._asking(line) for line in pages], self._answered)
        self._event_lanes: Lanes[Told] = Lanes([self._telling(line) for line in events], self._told)
        self._sampled_lanes: Lanes[Told] = Lanes([self.shown.watching(line) for line in sampled], self._watched)

    async def drive(self) -> None:
        """Everything at its moment, and until it is answered."""
        began_s, rates = self._loop.time(), self.rates
        await asyncio.gather(
            self._at(arrivals(rates.pages, _LEAD_S + rates.seconds, rates.seed), began_s, self._put_page),
            self._at(arrivals(rates.events, rates.seconds, rates.seed + 1), began_s + _LEAD_S, self._put_event),
        )
        for lanes in (self._page_lanes, self._event_lanes, self._sampled_lanes):
            await lanes.drained(_DRAIN_S)

    def close(self) -> None:
        """End what is under way; it counts as unanswered, with the time that it took so far."""
        now_s = self._loop.time()
        for lanes, met in ((self._page_lanes, self.pages), (self._event_lanes, self.events)):
            met.latencies_s[Fate.UNANSWERED] += [now_s - due_s for due_s, _ in lanes.close()]
        self.shown.unseen_s += [now_s - due_s for due_s, _ in self._sampled_lanes.close()]

    async def _at(self, offsets_s: Sequence[float], began_s: float, put: Callable[[float], None]) -> None:
        for offset_s in offsets_s:
            if (early_s := began_s + offset_s - self._loop.time()) > 0:
                await asyncio.sleep(early_s)
            put(began_s + offset_s)

    def _put_page(self, due_s: float) -> None:
        self._page_lanes.put(due_s, next(self._asked))

    def _put_event(self, due_s: float) -> None:
        sampled = bool(self._rng.random() < self.rates.sampled)
        told = self.shown.sampled(self.path_of) if sampled else self.shown.plain()
        if told is not None:
            (self._sampled_lanes if sampled else self._event_lanes).put(due_s, told)

    def _asking(self, line: Connection) -> Callable[[ProfileKey], Awaitable[Reply]]:
        return lambda key: line.get(self.path_of[key])

    def _telling(self, line: Connection) -> Callable[[Told], Awaitable[Reply]]:
        send = self.shown.ledger.sending(line)
        return lambda told: send(told.ask())

    def _answered(self, key: ProfileKey, due_s: float, reply: Reply) -> None:
        self.pages.add(reply, self._loop.time() - due_s)
        self.shown.note(key, reply)

    def _told(self, told: Told, due_s: float, reply: Reply) -> None:
        self.events.add(reply, self._loop.time() - due_s)

    def _watched(self, told: Told, due_s: float, reply: Reply) -> None:
        self.shown.write(told, self._loop.time() - due_s, reply)

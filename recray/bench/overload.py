"""Twice as many requests as are answered at the peak: how many are answered then, how fast, and how the others are told.

The peak is a closed loop's, by the same client as the open loop at twice its rate, in turns.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from recray.errors import DataError
from recray.schema import ProfileKey
from recray.simulation.http_client import Connection, Reply, Target, connected
from recray.simulation.loops import Lanes, closed_loop, percentiles_ms
from recray.simulation.rate import arrivals
from recray.simulation.sessions import FEEDBACK_PATH
from recray.simulation.traffic import Fate, fate_of

FACTOR: Final = 2.0
_PEAK_CONNECTIONS: Final = (8, 16, 32)
_CONNECTIONS: Final = 256
_FEEDBACK_PER_S: Final = 5.0
_DRAIN_S: Final = 10.0
_TURNS: Final = 3


@dataclass
class Met:
    """Latencies in seconds of one kind of request by fate, from the moment each was due."""

    latencies_s: dict[Fate, list[float]] = field(default_factory=lambda: {fate: [] for fate in Fate})

    def add(self, reply: Reply, latency_s: float) -> None:
        self.latencies_s[fate_of(reply)].append(latency_s)

    def of(self, *fates: Fate) -> list[float]:
        return [latency_s for fate in fates for latency_s in self.latencies_s[fate]]

    @property
    def n_failed(self) -> int:
        return len(self.of(*(fate for fate in Fate if fate >= Fate.REFUSED)))


async def peak(target: Target, paths: Sequence[str], seconds: float) -> dict[str, Any]:
    """Most answers per second that some number of connections gets that ask again at once, with their p50 and p99.

    Several are tried, each for its share of the seconds: with too many some are refused, and ask again at once.

    Raises:
        DataError: nothing was answered.
    """
    share_s = seconds / len(_PEAK_CONNECTIONS)
    best = max([await _closed(target, paths, n, share_s) for n in _PEAK_CONNECTIONS], key=lambda one: one.per_s)
    if not best.answered_s:
        raise DataError(f"{target.url} answered nothing to {', '.join(map(str, _PEAK_CONNECTIONS))} connections; see its log")
    return best.facts()


@dataclass(frozen=True, slots=True)
class _Closed:
    """What a number of connections that ask again at once got: latencies of answers, and how long they asked."""

    connections: int
    answered_s: list[float]
    seconds: float

    @property
    def per_s(self) -> float:
        return len(self.answered_s) / self.seconds

    def facts(self) -> dict[str, Any]:
        return {"requests_per_s": round(self.per_s, 2), "connections": self.connections, **percentiles_ms(self.answered_s)}


async def _closed(target: Target, paths: Sequence[str], n: int, seconds: float) -> _Closed:
    met, loop = Met(), asyncio.get_running_loop()
    async with connected(target, n) as connections:
        began_s = loop.time()
        await closed_loop([_Watched(one, met) for one in connections], paths, seconds)
    return _Closed(n, met.of(Fate.ANSWERED, Fate.DEGRADED), loop.time() - began_s)


@dataclass(frozen=True, slots=True)
class _Watched:
    """A line that writes down what it met."""

    line: Connection
    met: Met

    async def get(self, path: str) -> Reply:
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        reply = await self.line.get(path)
        self.met.add(reply, loop.time() - sent_s)
        return reply


async def overload(
    target: Target, paths: Sequence[str], feedback: tuple[Sequence[ProfileKey], str], seconds: float, seed: int
) -> dict[str, Any]:
    """Figures at the peak and at twice its rate; `feedback` (who, on which title) goes in between all the time.

    Both are measured by turns, for `seconds` each: a machine's speed drifts by more than what is looked for.
    """
    n = (await peak(target, paths, seconds))["connections"]
    (at_peak, asked, cpu_s), events = await asyncio.gather(
        _by_turns(target, paths, n, seconds, seed), _told(target, *feedback, 2 * seconds)
    )
    answered, refused = asked.of(Fate.ANSWERED, Fate.DEGRADED), asked.of(Fate.TURNED_AWAY)
    n_asked, goodput, latency = sum(map(len, asked.latencies_s.values())), len(answered) / seconds, percentiles_ms(answered)
    return {
        "factor": FACTOR,
        "peak": at_peak.facts(),
        "goodput_per_s": round(goodput, 2),
        "goodput/peak": round(goodput / at_peak.per_s, 3),
        "requests": n_asked,
        "answered": len(answered),
        "degraded": len(asked.of(Fate.DEGRADED)),
        "refused": len(refused),
        "refused_share": round(len(refused) / n_asked, 3),
        "failed": asked.n_failed,
        "p50_ms": latency["p50_ms"],
        "p99_ms": latency["p99_ms"],
        "refused_p50_ms": percentiles_ms(refused)["p50_ms"],
        "refused_p99_ms": percentiles_ms(refused)["p99_ms"],
        "feedback_sent": sum(map(len, events.latencies_s.values())),
        "feedback_accepted": len(events.of(Fate.ANSWERED)),
        "feedback_p99_ms": percentiles_ms(events.of(Fate.ANSWERED))["p99_ms"],
        "client_cpu_share": round(cpu_s / seconds, 3),
    }


async def _by_turns(target: Target, paths: Sequence[str], n: int, seconds: float, seed: int) -> tuple[_Closed, Met, float]:
    """What n connections got, what was met at twice their rate, and the client's processor seconds of that."""
    turn_s, answered_s, closed_s, asked, cpu_s = seconds / _TURNS, list[float](), 0.0, Met(), 0.0
    for turn in range(_TURNS):
        one = await _closed(target, paths, n, turn_s)
        if not one.answered_s:
            raise DataError(f"{target.url} answered nothing to {n} connections; see its log")
        answered_s += one.answered_s
        closed_s += one.seconds
        began_cpu_s = time.process_time()
        await _asked(target, paths, arrivals(FACTOR * one.per_s, turn_s, seed + turn), asked)
        cpu_s += time.process_time() - began_cpu_s
    return _Closed(n, answered_s, closed_s), asked, cpu_s


async def _asked(target: Target, paths: Sequence[str], due_s: Sequence[float], met: Met) -> None:
    """Pages at their moments, over more connections than are ever admitted."""
    loop = asyncio.get_running_loop()
    async with connected(target, _CONNECTIONS) as lines:
        lanes: Lanes[str] = Lanes([one.get for one in lines], lambda _, due, reply: met.add(reply, loop.time() - due))
        began_s = loop.time()
        for number, offset in enumerate(due_s):
            if (early_s := began_s + offset - loop.time()) > 0:
                await asyncio.sleep(early_s)
            lanes.put(began_s + offset, paths[number % len(paths)])
        await lanes.drained(_DRAIN_S)
        met.latencies_s[Fate.UNANSWERED] += [loop.time() - due for due, _ in lanes.close()]


async def _told(target: Target, keys: Sequence[ProfileKey], content_id: str, seconds: float) -> Met:
    """One event after another at a steady pace; each of another viewer, or of another moment."""
    loop, met = asyncio.get_running_loop(), Met()
    connection = Connection(target.host, target.port)
    began_s, n = loop.time(), int(seconds * _FEEDBACK_PER_S)
    for number in range(n):
        due_s = began_s + number / _FEEDBACK_PER_S
        await asyncio.sleep(max(due_s - loop.time(), 0.0))
        key = keys[number % len(keys)]
        event = {"user_id": key.user_id, "profile_id": key.profile_id, "content_id": content_id, "action": "click"}
        met.add(await connection.post(FEEDBACK_PATH, msgspec.json.encode(event)), loop.time() - due_s)
    connection.close()
    return met

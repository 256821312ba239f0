"""Open-loop load of viewers: sessions arrive at a rate and never wait for answers; a viewer's thought follows an answer.

Every request has a due moment and its latency counts from there. A viewer who is turned away with Retry-After comes again
after that time and up to a quarter more, but after `most_retry_after_s` at the latest, and leaves when the last of its tries
is turned away too. Feedback that was not acknowledged for another reason is sent again after a second and up to a quarter
more, under the same event ids. A page that fails is not asked again: the viewer leaves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from recray.settings import TrafficSettings
from recray.simulation.audience import Viewer
from recray.simulation.http_client import Connection, Reply, Target
from recray.simulation.loops import Lanes
from recray.simulation.rate import Piece, Rate
from recray.simulation.sessions import FEEDBACK, NOTHING, Ask, Crowd, Listed, Session, Step, lead_in_s, requests_per_session
from recray.simulation.traffic import Fate, Traffic, fate_of, recent

_LAG_EVERY_S: Final = 0.02
_LOOK_EVERY_S: Final = 0.5
_LOOK_BACK: Final = 10
"""A snapshot speaks of the last ten looks: five seconds."""
_AGAIN_S: Final = 1.0
_MOST_IDLE_S: Final = 2.0
"""Less than what servers allow: uvicorn closes after 5 s."""
Send = Callable[[Ask], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who asks, how often, and how. `rate` is that of requests; `run_id` keeps event ids of different runs apart."""

    viewers: Sequence[Viewer]
    rate: Rate
    seed: int
    run_id: str
    settings: TrafficSettings = field(default_factory=TrafficSettings)


Snapshot = dict[str, Any]
"""The last five seconds as JSON values, with totals of what went wrong."""


class _Verdicts(msgspec.Struct):
    verdicts: list[str]


_LISTED: Final = msgspec.json.Decoder(Listed)
_VERDICTS: Final = msgspec.json.Decoder(_Verdicts)


@dataclass(slots=True, eq=False)
class _Active:
    """A session under way: how often it has tried its present request."""

    steps: Session
    draws: np.random.Generator
    tries: int = 0


async def drive(
    target: Target, plan: Plan, watch: Callable[[Snapshot], None] | None = None, stop: asyncio.Event | None = None
) -> Traffic:
    """Load a server until the rate is over, or `stop` is set, and what is under way then is answered; what it met.

    `watch` is called twice a second. A server that cannot be reached is no error: its requests are counted as broken.
    """
    connections = [
        Connection(target.host, target.port, keeps_body=True, most_idle_s=_MOST_IDLE_S)
        for _ in range(plan.settings.connections)
    ]
    try:
        return await drive_over([_sending(connection) for connection in connections], plan, watch, stop)
    finally:
        for connection in connections:
            connection.close()


def _sending(connection: Connection) -> Send:
    def send(ask: Ask) -> Awaitable[Reply]:
        return connection.post(ask.path, ask.body) if ask.body else connection.get(ask.path)

    return send


async def drive_over(
    sends: Sequence[Send], plan: Plan, watch: Callable[[Snapshot], None] | None = None, stop: asyncio.Event | None = None
) -> Traffic:
    """The same over any lines, each of which carries one request at a time and does not raise."""
    driver = _Driver(sends, plan, stop or asyncio.Event())
    helpers = [asyncio.ensure_future(driver.measure_lag())]
    if watch is not None:
        helpers.append(asyncio.ensure_future(driver.look(watch)))
    try:
        await driver.run()
    finally:
        for task in helpers:
            task.cancel()
    return driver.traffic


def _carrying(send: Send) -> Callable[[tuple[_Active, Ask]], Awaitable[Reply]]:
    return lambda request: send(request[1])


class _Driver:
    """One run. State: what was met, what is under way, and where each session stands."""

    def __init__(self, sends: Sequence[Send], plan: Plan, stop: asyncio.Event) -> None:
        self.traffic = Traffic()
        self._plan, self._settings, self._stop = plan, plan.settings, stop
        self._crowd = Crowd(plan.viewers, plan.settings, plan.seed, plan.run_id)
        self._loop = asyncio.get_running_loop()
        self._lanes: Lanes[tuple[_Active, Ask]] = Lanes([_carrying(send) for send in sends], self._answered)
        self._began_s = self._end_s = self._loop.time()
        self._due: set[asyncio.TimerHandle] = set()

    async def run(self) -> None:
        """Begin every session at its moment, the lead-in's first, then wait for what is under way."""
        rate, lead_s = self._plan.rate.divided(requests_per_session(self._settings)), lead_in_s(self._settings)
        there = self._crowd.already_there(rate.at(0.0))
        arrivals = Rate((Piece(rate.at(0.0), rate.at(0.0), lead_s), *rate.pieces)).arrivals([self._plan.seed, 4])
        first_s = self._loop.time()
        self._began_s = self.traffic.began_s = first_s + lead_s
        self._end_s = self._began_s + rate.seconds
        for number, steps, step, at_s in there:
            self._begin(number, steps, step, first_s + at_s)
        for number, offset in enumerate(arrivals, start=there[-1][0] + 1 if there else 0):
            if await self._stopped_before(first_s + offset):
                break
            steps = self._crowd.session(number)
            self._begin(number, steps, next(steps), first_s + offset)
        await self._stopped_before(self._end_s)
        await self._end()

    async def _end(self) -> None:
        self._end_s = min(self._end_s, self._loop.time())
        self.traffic.seconds = max(self._end_s - self._began_s, 0.0)
        for handle in self._due:
            handle.cancel()
        try:
            await self._lanes.drained(self._settings.drain_s)
        finally:
            for due, (_, ask) in self._lanes.close():
                self._write(ask, due, Fate.UNANSWERED)
            ended = self.traffic.sessions
            ended.cut = ended.started - ended.finished - ended.abandoned

    async def _stopped_before(self, moment_s: float) -> bool:
        """Wait for a moment, or for being stopped."""
        early_s = moment_s - self._loop.time()
        if early_s > 0 and not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), early_s)
        return self._stop.is_set()

    def _begin(self, number: int, steps: Session, step: Step, at_s: float) -> None:
        self.traffic.sessions.started += 1
        self._schedule(_Active(steps, np.random.default_rng([self._plan.seed, 5, number])), step, at_s)

    def _schedule(self, active: _Active, step: Step, since_s: float) -> None:
        """Put a step where it is due; a session whose next step lies behind the end is cut there."""
        due_s = since_s + step.think_s
        if due_s >= self._end_s:
            return
        if step.ask is None:
            self._at(due_s, lambda: self._advance(active, NOTHING, due_s))
        else:
            ask = step.ask
            self._at(due_s, lambda: self._put(active, ask, due_s))

    def _at(self, due_s: float, work: Callable[[], None]) -> None:
        def on_time() -> None:
            self._due.discard(handle)
            work()

        handle = self._loop.call_at(due_s, on_time)
        self._due.add(handle)

    def _put(self, active: _Active, ask: Ask, due_s: float) -> None:
        active.tries += 1
        self._lanes.put(due_s, (active, ask))
        if self._lanes.under_way > self._settings.most_under_way and (oldest := self._lanes.longest_waiting()):
            due, (given_up, unsent) = oldest
            self._write(unsent, due, Fate.SHED_BY_CLIENT)
            self._abandon(given_up)

    def _answered(self, request: tuple[_Active, Ask], due_s: float, reply: Reply) -> None:
        active, ask = request
        self.traffic.statuses[reply.status] += 1
        listed, fate = self._read(ask, reply, fate_of(reply))
        self._write(ask, due_s, fate)
        if fate <= Fate.DEGRADED:
            active.tries = 0
            self._advance(active, listed, self._loop.time())
        elif (fate == Fate.TURNED_AWAY or ask.endpoint == FEEDBACK) and active.tries < self._settings.tries:
            self._schedule(active, Step(self._patience_s(active, reply), ask), self._loop.time())
        else:
            self._abandon(active)

    def _patience_s(self, active: _Active, reply: Reply) -> float:
        """How long to wait before the next try; nobody comes again with everybody else."""
        told_s = _AGAIN_S if reply.retry_after_s is None else reply.retry_after_s
        return min(told_s * active.draws.uniform(1.0, 1.25), self._settings.most_retry_after_s)

    def _read(self, ask: Ask, reply: Reply, fate: Fate) -> tuple[Listed, Fate]:
        if fate > Fate.DEGRADED:
            return NOTHING, fate
        try:
            if ask.endpoint == FEEDBACK:
                self.traffic.verdicts.update(_VERDICTS.decode(reply.body).verdicts)
                return NOTHING, fate
            listed = _LISTED.decode(reply.body)
        except msgspec.MsgspecError:
            return NOTHING, Fate.REFUSED
        self.traffic.degraded_stages.update(listed.degraded)
        return listed, fate

    def _advance(self, active: _Active, listed: Listed, now_s: float) -> None:
        try:
            step = active.steps.send(listed)
        except StopIteration:
            self.traffic.sessions.finished += 1
            return
        self._schedule(active, step, now_s)

    def _abandon(self, active: _Active) -> None:
        active.steps.close()
        self.traffic.sessions.abandoned += 1

    def _write(self, ask: Ask, due_s: float, fate: Fate) -> None:
        self.traffic.add(ask.endpoint, due_s - self._began_s, self._loop.time() - due_s, fate)

    async def measure_lag(self) -> None:
        """How much later than asked for the event loop wakes up, again and again."""
        while True:
            due_s = self._loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.traffic.lags_s.append(self._loop.time() - due_s)

    async def look(self, watch: Callable[[Snapshot], None]) -> None:
        """Tell the watcher how the last seconds were, again and again."""
        traffic, marks = self.traffic, [(self._loop.time(), 0)]
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now_s, marks = self._loop.time(), marks[-_LOOK_BACK:]
            since_s, start = marks[0]
            marks.append((now_s, len(traffic.fate)))
            watch(
                {
                    "at_s": round(now_s - self._began_s, 1),
                    "of_s": round(self._end_s - self._began_s, 1),
                    "wanted_per_s": round(self._plan.rate.at(now_s - self._began_s), 1),
                    **recent(traffic, start, now_s - since_s),
                    "under_way": self._lanes.under_way,
                    "failed": traffic.n_failed,
                    "degraded": traffic.fate.count(Fate.DEGRADED),
                    "turned_away": traffic.fate.count(Fate.TURNED_AWAY),
                    "accepted": traffic.verdicts["accepted"],
                    "lag_p99_ms": traffic.lag_p99_ms,
                }
            )

"""The sink: carries the event log of the online store into the lake, each event exactly once, and trims what is durable there.

How far a log has been carried is committed with the rows, in the lake, and nowhere else; the consumer group only divides the
work. So a sink may be killed anywhere: before a commit its entries are given out again, after it they are told to be finished.
Of two sinks that hold the same entries the second to commit is refused. Knows nothing of Ray.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from recray.errors import RecrayError
from recray.features import fold
from recray.settings import Settings
from recray.stores import event_log
from recray.stores.lake import Lake
from recray.stores.log_group import Entry, log_name, order
from recray.stores.online import Arrival, OnlineStore
from recray.stores.privacy import carry_erasures
from recray.stores.sunk import QUARANTINE, SUNK, Batch, logged

GROUP: Final = "sink"
_LARGEST: Final = 32_767
_log = logging.getLogger(__name__)


class SinkFacts(msgspec.Struct, frozen=True):
    """What sinks have done for a set so far: events written, entries set aside, and when that was last so."""

    data: str
    n_written: int
    n_quarantined: int
    at_s: int


@dataclass
class Run:
    """What one flush carries over: entries in order by shard, the last position of each, and what is tried again."""

    entries: list[tuple[int, Entry, int]] = field(default_factory=list)
    last: dict[int, str] = field(default_factory=dict)
    again: dict[int, list[str]] = field(default_factory=dict)


class Sink:
    """One member of the sinks of a data set. State: the entries it holds, and how far the lake is.

    Used from one event loop; `now_s` gives seconds since 1970, `member` names this sink and no other.
    """

    def __init__(
        self, store: OnlineStore, lake: Lake, name: str, settings: Settings, *, member: str, now_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._lake = lake
        self._sunk = lake.sunk(name)
        self._name = name
        self._settings = settings.sink
        self._n_shards = settings.store.n_shards
        self._late_s = settings.store.max_late_s
        self._now_s = now_s
        self._group = store.group(GROUP, member, settings.sink.claim_idle_s)
        self._titles: dict[str, int] = {}
        self._ready = False
        self._again = False
        self._log_id = ""
        self._through: dict[int, str] = {}
        self._held: dict[int, dict[str, Entry]] = {}
        self._since_s = 0.0
        self._upkept_s = now_s()

    @property
    def n_held(self) -> int:
        """Entries taken and not yet carried over."""
        return sum(map(len, self._held.values()))

    async def run(self, stop: asyncio.Event) -> None:
        """Carry over until asked to stop, then what is still there. A store or disk that fails is tried again, for ever."""
        while not stop.is_set():
            if not await self._survived(self.step):
                try:
                    await asyncio.wait_for(stop.wait(), self._settings.poll_s)
                except TimeoutError:
                    continue
        await self._survived(self.drain)

    async def _survived(self, work: Callable[[], Any]) -> bool:
        try:
            return bool(await work())
        except (RecrayError, OSError, pa.ArrowException) as problem:
            self._ready = False
            _log.warning("the sink of %s starts over: %s", self._name, problem)
            return False

    async def step(self) -> bool:
        """Take what is there, commit when a batch is due; whether there is more to do at once.

        Raises:
            StoreError: the store did not answer; the next step starts over from what the lake holds.
            DataError: the lake cannot be read or written; likewise.
        """
        if not self._ready:
            await self._begin()
        await carry_erasures(self._store, self._sunk)
        n_taken = await self._take()
        if self._due():
            await self._flush()
        if self._now_s() - self._upkept_s >= self._settings.upkeep_s:
            await self._keep_up()
        return n_taken >= self._share()

    async def drain(self) -> bool:
        """Carry over all that is there now, but for entries that cannot be read; those wait. Nothing is left to do: False."""
        more = True
        while more:
            if not self._ready:
                await self._begin()
            await carry_erasures(self._store, self._sunk)
            n_taken = await self._take()
            flushed = await self._flush()
            left = n_taken >= self._share() or bool(self._held) or self._group.n_kept_back() > 0
            more = (flushed and left) or not self._ready
        await self._keep_up()
        return False

    async def _begin(self) -> None:
        self._log_id, self._n_shards = await self._store.log_id(), await self._store.n_shards()
        self._number_titles()
        sunk = await asyncio.to_thread(self._sunk.read)
        self._through = {shard: sunk.through.get(log_name(self._log_id, shard), "") for shard in range(self._n_shards)}
        await self._group.begin(self._through)
        await self._group.finish(self._through)
        self._held, self._again, self._ready = {}, True, True
        await self._tell()

    def _number_titles(self) -> None:
        column = self._lake.table(self._name, "titles")["content_id"].to_pylist()
        self._titles = {content_id: number for number, content_id in enumerate(column)}

    def _share(self) -> int:
        return max(self._settings.max_rows // self._n_shards, 1)

    async def _take(self) -> int:
        taken = [await self._group.take(self._share(), again=True)] if self._again else []
        self._again = False
        # Whoever is full and waits behind what a dead member had must take that, or all wait for ever.
        taken.append(await self._group.take(self._share(), fresh=self.n_held < self._settings.max_rows))
        before = self.n_held
        if not before:
            self._since_s = self._now_s()
        for part in taken:
            for shard, entries in part.items():
                self._held.setdefault(shard, {}).update((entry.position, entry) for entry in entries)
        return self.n_held - before

    def _due(self) -> bool:
        if not self._held:
            return False
        n_bytes = sum(len(entry.blob) for own in self._held.values() for entry in own.values())
        full = self.n_held >= self._settings.max_rows or n_bytes >= self._settings.max_bytes
        return full or self._now_s() - self._since_s >= self._settings.max_age_s

    async def _flush(self) -> bool:
        """Commit what this sink holds without a gap behind what the lake has; False when that was nothing."""
        run = await self._gapless()
        if not self._ready:
            return False
        self._since_s = self._now_s()
        batch = await asyncio.to_thread(self._judged, run)
        if run.again:
            await self._group.retry(run.again)
        if not run.last:
            return False
        if not await asyncio.to_thread(self._sunk.commit, batch):
            _log.warning("another sink of %s was first; starting over", self._name)
            self._ready = False
            return False
        await self._group.finish(run.last)
        self._through |= run.last
        for shard, last in run.last.items():
            own = self._held.pop(shard)
            rest = {position: entry for position, entry in own.items() if order(position) > order(last)}
            if rest:
                self._held[shard] = rest
        await self._tell()
        return True

    async def _gapless(self) -> Run:
        """Each shard's oldest unfinished entries, up to the first that this sink does not hold.

        An entry of this sink that is older than all of them was finished by another: this sink slept, and starts over. So it
        does when one is given out that the lake has: a sink that began while this one slept took it for dead.
        """
        run = Run()
        longest = max(map(len, self._held.values()), default=0)
        unfinished = await self._group.held(longest + 1)
        for shard, own in self._held.items():
            oldest = order(unfinished[shard][0].position) if shard in unfinished else None
            if own and (oldest is None or min(map(order, own)) < oldest):
                self._ready = False
        for shard, listed in unfinished.items():
            own = self._held.get(shard, {})
            if order(listed[0].position) <= order(self._through.get(shard, "")):
                self._ready = False
            for one in listed:
                if not one.is_own:
                    break
                if one.position not in own:
                    self._again = True
                    break
                run.entries.append((shard, own[one.position], one.n_tries))
        return run

    def _judged(self, run: Run) -> Batch:
        """The run as rows and refused entries; it ends, in a shard, before an entry that is to be tried again."""
        rows: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        for (shard, entry, n_tries), (arrival, reason) in zip(run.entries, self._read(run.entries), strict=True):
            if shard in run.again:
                continue
            if reason and n_tries < self._settings.tries:
                run.again[shard] = [entry.position]
                continue
            run.last[shard] = entry.position
            place = logged(log_name(self._log_id, shard), entry.position)
            if reason:
                refused.append({**place, "profile": entry.profile, "reason": reason, "n_tries": n_tries, "entry": entry.blob})
            elif arrival is not None:
                rows.append({**event_log.facts(arrival), **place, **_times(arrival)})
        names = {shard: log_name(self._log_id, shard) for shard in run.last}
        return Batch(
            rows=pa.Table.from_pylist(rows, schema=SUNK),
            quarantined=pa.Table.from_pylist(refused, schema=QUARANTINE),
            behind={name: self._through.get(shard, "") for shard, name in names.items()},
            through={name: run.last[shard] for shard, name in names.items()},
        )

    def _read(self, entries: list[tuple[int, Entry, int]]) -> list[tuple[Arrival | None, str]]:
        """Each entry's event, or why it is none; neither for one that was erased."""
        read: list[tuple[Arrival | None, str]] = []
        for _, entry, _ in entries:
            try:
                read.append((event_log.decode_event(entry.blob) if entry.blob else None, ""))
            except RecrayError as problem:
                read.append((None, str(problem)))
        if any(arrival is not None and arrival.event.content_id not in self._titles for arrival, _ in read):
            self._number_titles()
        return [(arrival, reason or (_fault(arrival, self._titles) if arrival else "")) for arrival, reason in read]

    async def _keep_up(self) -> None:
        now_s, own = self._now_s(), self._settings
        await asyncio.to_thread(self._sunk.upkeep, int(now_s), own.merge_parts, self._late_s, own.retired_s)
        self._upkept_s = now_s
        await self._tell()

    async def _tell(self) -> None:
        sunk = await asyncio.to_thread(self._sunk.read)
        facts = SinkFacts(self._name, sunk.n_rows, sunk.n_quarantined, int(self._now_s()))
        await self._store.note(GROUP, msgspec.json.encode(facts))


def _times(arrival: Arrival) -> dict[str, int]:
    return {"event_at": arrival.event.event_at_s * 1_000, "received_at": arrival.received_at_s * 1_000}


def _fault(arrival: Arrival, titles: Mapping[str, int]) -> str:
    """Why a readable event cannot be a row of the lake, or nothing."""
    event = arrival.event
    number = titles.get(event.content_id)
    if number is None:
        return f"title {event.content_id!r} is not in the titles table"
    packed = int(fold.items(np.array([arrival.word], np.uint64))[0])
    if packed != number:
        return f"title {event.content_id!r} was logged as number {packed}; the titles table has it as {number}"
    for name, value in (("row", event.row), ("position", event.position)):
        if value is not None and not 0 <= value <= _LARGEST:
            return f"{name} is {value}; expected 0 to {_LARGEST}"
    return ""

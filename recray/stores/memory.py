"""The online store in one process: the reference that other stores are held against, and the store of tests and trials.

Nothing survives the process.
"""

import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recray.errors import StoreError
from recray.schema import ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores import event_log
from recray.stores.log_group import Entry, Lag, LogGroup
from recray.stores.memory_group import GroupState, MemoryGroup, needed
from recray.stores.online import Arrival, Found, Keeping, ProfileRecord, Verdict, Wanted
from recray.stores.versions import MemoryVersions, Versions


@dataclass(slots=True)
class _Log:
    """Entries with rising numbers and the times they came at; those of one profile can be taken out."""

    now: Callable[[], float]
    numbers: list[int] = field(default_factory=list)
    at_s: dict[int, float] = field(default_factory=dict)
    entries: list[tuple[ProfileKey, str, bytes]] = field(default_factory=list)
    last: int = 0

    def add(self, key: ProfileKey, name: str, blob: bytes) -> None:
        self.last += 1
        self.numbers.append(self.last)
        self.at_s[self.last] = self.now()
        self.entries.append((key, name, blob))

    def after(self, position: str, limit: int) -> list[Entry]:
        start = bisect_right(self.numbers, _number(position))
        found = zip(self.numbers[start : start + limit], self.entries[start : start + limit], strict=True)
        return [Entry(str(number), blob, event_log.digest(key)) for number, (key, _, blob) in found]

    def drop_first(self, n: int) -> int:
        n = max(n, 0)
        for number in self.numbers[:n]:
            del self.at_s[number]
        del self.numbers[:n], self.entries[:n]
        return n

    def of(self, key: ProfileKey) -> list[tuple[str, bytes]]:
        return [(name, blob) for owner, name, blob in self.entries if owner == key]

    def drop(self, key: ProfileKey) -> None:
        kept = [place for place, (owner, _, _) in enumerate(self.entries) if owner != key]
        self.numbers = [self.numbers[place] for place in kept]
        self.at_s = {number: self.at_s[number] for number in self.numbers}
        self.entries = [self.entries[place] for place in kept]


@dataclass(slots=True, frozen=True)
class _Leased:
    """Answers kept of one profile, by name, while its version stands and its lease has not ended."""

    lease: bytes
    version: int
    ends_at: float
    blobs: dict[bytes, bytes] = field(default_factory=dict)


def _number(position: str) -> int:
    try:
        return int(position or "0")
    except ValueError as problem:
        raise StoreError(f"log position is {position!r}; expected one that this store gave, or '' for the start") from problem


class MemoryStore:
    """An `OnlineStore` of dictionaries. One event loop may use it; `now` gives seconds for the TTLs, any origin."""

    def __init__(self, settings: StoreSettings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        self._profiles: dict[ProfileKey, ProfileRecord] = {}
        self._events = [_Log(now) for _ in range(settings.n_shards)]
        self._slates = [_Log(now) for _ in range(settings.n_shards)]
        self._groups: dict[str, list[GroupState]] = {}
        self._put: set[ProfileKey] = set()
        self._erasures: dict[bytes, tuple[int, str]] = {}
        self._notes: dict[str, bytes] = {}
        self._versions: dict[str, MemoryVersions] = {}
        self._log_id = uuid.uuid4().hex[:12]
        # Insertion order is order of expiry: one TTL for all of a mapping's entries.
        self._marks: dict[bytes, float] = {}
        self._records: dict[str, tuple[float, ProfileKey, bytes]] = {}
        self._kept: dict[ProfileKey, _Leased] = {}

    async def read(self, keys: Sequence[ProfileKey]) -> list[ProfileRecord]:
        return [self._profiles.get(key) or ProfileRecord() for key in keys]

    async def append(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        self._expire()
        return [self._append(arrival) for arrival in arrivals]

    def _append(self, arrival: Arrival) -> Verdict:
        marks = event_log.dedup_marks(arrival, event_log.digest(arrival.key))
        if any(mark in self._marks for mark in marks):
            return Verdict.DUPLICATE
        self._marks.update(dict.fromkeys(marks, self._now() + self._settings.dedup_ttl_s))
        log = self._events[self._shard(arrival.key)]
        log.add(arrival.key, arrival.event.event_id, event_log.encode_event(arrival))
        if pending := event_log.inbox_word(arrival):
            held = self._profiles.get(arrival.key) or ProfileRecord()
            self._profiles[arrival.key] = replace(held, inbox=held.inbox + pending, version=held.version + 1)
        return Verdict.ACCEPTED

    async def settle(self, key: ProfileKey, state: bytes, n_folded_bytes: int, generation: int) -> bool:
        held = self._profiles.get(key) or ProfileRecord()
        if held.generation != generation or len(held.inbox) < n_folded_bytes:
            return False
        self._profiles[key] = replace(held, state=state, inbox=held.inbox[n_folded_bytes:], generation=generation + 1)
        return True

    async def put_settings(self, key: ProfileKey, settings: ProfileSettings) -> int:
        held = self._profiles.get(key) or ProfileRecord()
        self._profiles[key] = replace(held, settings=settings, version=held.version + 1)
        self._put.add(key)
        return held.version + 1

    async def load(
        self, profiles: Sequence[tuple[ProfileKey, bytes, ProfileSettings]], versions: Sequence[int] | None = None
    ) -> list[bool]:
        written = []
        for row, (key, state, settings) in enumerate(profiles):
            held = self._profiles.get(key) or ProfileRecord()
            written.append(versions is None or held.version == versions[row])
            if written[-1]:
                inbox, wanted = held.inbox if versions is None else b"", held.settings if key in self._put else settings
                self._profiles[key] = ProfileRecord(state, inbox, wanted, held.version + 1, held.generation + 1)
        return written

    async def look_up(self, wanted: Sequence[Wanted], ttl_s: int) -> list[Found]:
        self._expire()
        return [self._look_up(one, ttl_s) for one in wanted]

    def _look_up(self, wanted: Wanted, ttl_s: int) -> Found:
        if held := self._leased(wanted.key):
            return Found(held.lease, None if held.lease == wanted.copy_lease else held.blobs.get(wanted.name))
        self._kept.pop(wanted.key, None)
        self._kept[wanted.key] = _Leased(wanted.new_lease, self._version(wanted.key), self._now() + ttl_s)
        return Found(wanted.new_lease, None)

    async def keep(self, answers: Sequence[Keeping], most_bytes: int) -> list[bool]:
        self._expire()
        return [self._keep(one, most_bytes) for one in answers]

    def _keep(self, one: Keeping, most_bytes: int) -> bool:
        held = self._leased(one.key)
        if held is None or held.lease != one.lease or one.name in held.blobs or len(one.blob) > most_bytes:
            return False
        if sum(map(len, held.blobs.values())) + len(one.blob) > most_bytes:
            held.blobs.clear()
        held.blobs[one.name] = one.blob
        return True

    def _leased(self, key: ProfileKey) -> _Leased | None:
        held = self._kept.get(key)
        stands = held is not None and held.version == self._version(key) and held.ends_at > self._now()
        return held if stands else None

    def _version(self, key: ProfileKey) -> int:
        return self._profiles[key].version if key in self._profiles else 0

    async def log_slates(self, slates: Sequence[tuple[str, ProfileKey, bytes]]) -> None:
        self._expire()
        for recommendation_id, key, blob in slates:
            log = self._slates[self._shard(key)]
            log.add(key, recommendation_id, blob)
            log.drop_first(len(log.numbers) - max(self._settings.slates_max_length // self._settings.n_shards, 1))
            self._records.pop(recommendation_id, None)
            self._records[recommendation_id] = (self._now() + self._settings.record_ttl_s, key, blob)

    async def slate(self, recommendation_id: str) -> bytes | None:
        self._expire()
        found = self._records.get(recommendation_id)
        return found[2] if found else None

    async def n_shards(self) -> int:
        return self._settings.n_shards

    async def events(self, shard: int, after: str, limit: int) -> list[tuple[str, dict[str, Any]]]:
        found = self._events[shard].after(after, limit)
        return [(entry.position, event_log.facts(event_log.decode_event(entry.blob))) for entry in found]

    async def entries(self, shard: int, after: str, limit: int) -> list[Entry]:
        return self._events[shard].after(after, limit)

    async def slates(self, shard: int, after: str, limit: int) -> list[tuple[str, bytes]]:
        return [(entry.position, entry.blob) for entry in self._slates[shard].after(after, limit)]

    async def trim(self, shard: int, through: str) -> int:
        log = self._events[shard]
        last = needed([states[shard] for states in self._groups.values()], _number(through))
        return log.drop_first(bisect_right(log.numbers, last))

    async def log_id(self) -> str:
        return self._log_id

    def group(self, name: str, member: str, claim_idle_s: float) -> LogGroup:
        states = self._groups.setdefault(name, [GroupState() for _ in self._events])
        return MemoryGroup(self, states, member, claim_idle_s, self._now)

    async def disband(self, group: str) -> None:
        self._groups.pop(group, None)

    def versions(self, name: str) -> Versions:
        return self._versions.setdefault(name, MemoryVersions())

    async def lag(self, group: str) -> Lag:
        ages, n_entries = [0.0], 0
        states = self._groups.get(group) or [GroupState() for _ in self._events]
        for log, state in zip(self._events, states, strict=True):
            waiting = [number for number in log.numbers if number > state.given or number in state.held]
            n_entries += len(waiting)
            ages += [self._now() - log.at_s[number] for number in waiting[:1]]
        return Lag(n_entries, max(ages))

    async def erasures(self) -> dict[bytes, tuple[int, str]]:
        return dict(self._erasures)

    async def forget_erasures(self, known: Mapping[bytes, tuple[int, str]]) -> None:
        self._erasures = {mark: at for mark, at in self._erasures.items() if known.get(mark) != at}

    async def note(self, name: str, facts: bytes) -> None:
        self._notes[name] = facts

    async def noted(self, name: str) -> bytes | None:
        return self._notes.get(name)

    async def export(self, key: ProfileKey) -> dict[str, Any]:
        self._expire()
        shard = self._shard(key)
        (record,) = await self.read([key])
        events = [blob for _, blob in self._events[shard].of(key)]
        answers = self._kept[key].blobs.values() if key in self._kept else ()
        return event_log.exported(key, record, events, self._served(key).values(), answers)

    def _served(self, key: ProfileKey) -> dict[str, bytes]:
        logged = dict(self._slates[self._shard(key)].of(key))
        return logged | {name: blob for name, (_, owner, blob) in self._records.items() if owner == key}

    async def erase(self, key: ProfileKey) -> dict[str, int]:
        self._expire()
        shard, served = self._shard(key), self._served(key)
        blobs = [blob for _, blob in self._events[shard].of(key)]
        arrivals = [arrival for arrival in map(event_log.readable, blobs) if arrival is not None]
        profile = event_log.digest(key)
        marks = {mark for arrival in arrivals for mark in event_log.dedup_marks(arrival, profile)} & self._marks.keys()
        self._erasures[event_log.erasure_mark(profile)] = (shard, str(self._events[shard].last))
        self._put.discard(key)
        self._marks = {mark: end for mark, end in self._marks.items() if mark not in marks}
        self._records = {name: record for name, record in self._records.items() if record[1] != key}
        n_profiles = int(self._profiles.pop(key, None) is not None)
        kept = self._kept.pop(key, None)
        n_answers = len(kept.blobs) if kept else 0
        for log in (self._events[shard], self._slates[shard]):
            log.drop(key)
        counts = {"profiles": n_profiles, "events": len(blobs), "slates": len(served)}
        return {**counts, "answers": n_answers, "marks": len(marks)}

    async def scrub(self) -> bool:
        return True

    async def ping(self) -> float:
        return 0.0

    async def close(self) -> None:
        return None

    def _shard(self, key: ProfileKey) -> int:
        return event_log.shard_of(key, self._settings.n_shards)

    def _expire(self) -> None:
        now = self._now()
        while self._marks and next(iter(self._marks.values())) <= now:
            del self._marks[next(iter(self._marks))]
        while self._records and next(iter(self._records.values()))[0] <= now:
            del self._records[next(iter(self._records))]
        while self._kept and next(iter(self._kept.values())).ends_at <= now:
            del self._kept[next(iter(self._kept))]

"""The online store on a RESP server: standalone Redis 7 or later, or Valkey.

Keys (all but the last two carry their shard as hash tag, so that one script can log an event and change its profile):

    {s3}p:<user>/<profile>   hash     state, inbox, settings, version, generation
    {s3}d:<mark> {s3}w:<mark>         dedup marks of an event's id and of its packed form, with TTL
    {s3}events {s3}slates    stream   the two logs
    {s3}a:<user>/<profile>   hash     answers kept for reuse, under a lease, with TTL
    {s3}r:<user>/<profile>   zset     recommendation ids whose record has not expired, by expiry
    rec:<recommendation id>           the encoded SlateServed, with TTL; found without knowing the profile
    recray:n_shards                   the number of shards that the data is laid out for
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from recray.errors import DataError, StoreError
from recray.schema import ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores import event_log, scripts
from recray.stores.online import Arrival, Found, Keeping, ProfileRecord, Verdict, Wanted
from recray.stores.resp import Command, RespClient

T = TypeVar("T")

_FIELDS: Final = (b"s", b"i", b"c", b"v", b"g")
_LEASE_FIELDS: Final = 3
_PER_SCRIPT: Final = 100
"""Events or profiles that one script handles: 0.5 ms of the server's one thread."""
_PER_ROUND_TRIP: Final = 1_000
_LOOKED_AT: Final = 2_000
"""Log entries that one step of export or erase reads: 1 ms of the server's one thread."""
_settings_decoder: Final = msgspec.json.Decoder(ProfileSettings)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a profile's data lie: its hash tag, its printable address, and the digest that its log entries carry."""

    tag: bytes
    address: bytes
    digest: bytes

    @property
    def profile(self) -> bytes:
        return self.tag + b"p:" + self.address

    @property
    def served(self) -> bytes:
        return self.tag + b"r:" + self.address

    @property
    def kept(self) -> bytes:
        return self.tag + b"a:" + self.address

    def marks(self, arrival: Arrival) -> tuple[bytes, bytes]:
        by_id, by_word = event_log.dedup_marks(arrival, self.digest)
        return self.tag + b"d:" + by_id, self.tag + b"w:" + by_word


def _tag(shard: int) -> bytes:
    return b"{s%d}" % shard


def _record_key(recommendation_id: str) -> bytes:
    return b"rec:" + recommendation_id.encode()


def _script(script: scripts.Script, keys: Sequence[bytes], *args: Any) -> Command:
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


class RedisStore:
    """An `OnlineStore` on a RESP server, used from one event loop."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        self._settings = settings
        self._server = RespClient(url, settings)

    async def read(self, keys: Sequence[ProfileKey]) -> list[ProfileRecord]:
        answers = await self._server.ask([("HMGET", self._place(key).profile, *_FIELDS) for key in keys])
        return [_record(key, *answer) for key, answer in zip(keys, answers, strict=True)]

    async def append(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        calls: list[Command] = []
        order: list[int] = []
        for tag, members in self._by_shard([arrival.key for arrival in arrivals]).items():
            for chunk in _chunks(members, _PER_SCRIPT):
                keys: list[bytes] = [tag + b"events"]
                args: list[Any] = [self._settings.dedup_ttl_s]
                for row, place in chunk:
                    arrival = arrivals[row]
                    keys += (place.profile, *place.marks(arrival))
                    args += (place.digest, event_log.inbox_word(arrival), event_log.encode_event(arrival))
                    order.append(row)
                calls.append(_script(scripts.APPEND, keys, *args))
        accepted = [flag for answer in await self._server.ask(calls) for flag in answer]
        verdicts = [Verdict.DUPLICATE] * len(arrivals)
        for row, flag in zip(order, accepted, strict=True):
            if flag:
                verdicts[row] = Verdict.ACCEPTED
        return verdicts

    async def settle(self, key: ProfileKey, state: bytes, n_folded_bytes: int, generation: int) -> bool:
        call = _script(scripts.SETTLE, [self._place(key).profile], generation, n_folded_bytes, state)
        return bool((await self._server.ask([call]))[0])

    async def put_settings(self, key: ProfileKey, settings: ProfileSettings) -> int:
        call = _script(scripts.SETTINGS, [self._place(key).profile], msgspec.json.encode(settings))
        return int((await self._server.ask([call]))[0])

    async def load(self, profiles: Sequence[tuple[ProfileKey, bytes, ProfileSettings]]) -> None:
        for part in _chunks(profiles, _PER_ROUND_TRIP):
            calls = []
            for members in self._by_shard([key for key, _, _ in part]).values():
                for chunk in _chunks(members, _PER_SCRIPT):
                    values = [(part[row][1], msgspec.json.encode(part[row][2])) for row, _ in chunk]
                    args = [value for pair in values for value in pair]
                    calls.append(_script(scripts.LOAD, [place.profile for _, place in chunk], *args))
            await self._server.ask(calls)

    async def look_up(self, wanted: Sequence[Wanted], ttl_s: int) -> list[Found]:
        calls = []
        for one in wanted:
            place = self._place(one.key)
            args = (one.name, one.new_lease, one.copy_lease, ttl_s)
            calls.append(_script(scripts.LOOK_UP, [place.profile, place.kept], *args))
        return [Found(*answer) for answer in await self._server.ask(calls)]

    async def keep(self, answers: Sequence[Keeping], most_bytes: int) -> list[bool]:
        calls = []
        for one in answers:
            place = self._place(one.key)
            calls.append(_script(scripts.KEEP, [place.profile, place.kept], one.name, one.lease, one.blob, most_bytes))
        return [bool(done) for done in await self._server.ask(calls)]

    async def log_slates(self, slates: Sequence[tuple[str, ProfileKey, bytes]]) -> None:
        longest = max(self._settings.slates_max_length // self._settings.n_shards, 1)
        ttl_s = self._settings.record_ttl_s
        calls: list[Command] = []
        for recommendation_id, key, blob in slates:
            place = self._place(key)
            # The index goes first: an id without a record is harmless, a record that erase cannot find is not.
            keys = [place.tag + b"slates", place.served]
            calls.append(_script(scripts.SERVED, keys, place.digest, recommendation_id, blob, longest, ttl_s))
            calls.append(("SET", _record_key(recommendation_id), blob, "EX", ttl_s))
        await self._server.ask(calls)

    async def slate(self, recommendation_id: str) -> bytes | None:
        return (await self._server.ask([("GET", _record_key(recommendation_id))]))[0]

    async def events(self, shard: int, after: str, limit: int) -> list[tuple[str, dict[str, Any]]]:
        found = await self._after(_tag(shard) + b"events", after, limit)
        return [(position, event_log.facts(event_log.decode_event(blob))) for position, blob in found]

    async def slates(self, shard: int, after: str, limit: int) -> list[tuple[str, bytes]]:
        return await self._after(_tag(shard) + b"slates", after, limit)

    async def _after(self, log: bytes, after: str, limit: int) -> list[tuple[str, bytes]]:
        (found,) = await self._server.ask([("XRANGE", log, f"({after}" if after else "-", "+", "COUNT", limit)])
        return [(position.decode(), values[b"e"]) for position, values in found]

    async def trim(self, shard: int, through: str) -> int:
        at_ms, _, number = through.partition("-")
        if not (at_ms.isdecimal() and number.isdecimal()):
            raise StoreError(f"log position is {through!r}; expected one that this store gave")
        first_kept = f"{at_ms}-{int(number) + 1}"
        return int((await self._server.ask([("XTRIM", _tag(shard) + b"events", "MINID", first_kept)]))[0])

    async def export(self, key: ProfileKey) -> dict[str, Any]:
        place = self._place(key)
        (record,) = await self.read([key])
        events = [blob for _, blob, _ in await self._owned(place, b"events")]
        slates = {name: blob for _, blob, name in await self._owned(place, b"slates")}
        unexpired = [name for name in await self._unexpired(place) if name not in slates]
        records = await self._server.ask([("GET", b"rec:" + name) for name in unexpired])
        slates |= {name: blob for name, blob in zip(unexpired, records, strict=True) if blob is not None}
        (kept,) = await self._server.ask([("HGETALL", place.kept)])
        answers = [blob for name, blob in kept.items() if len(name) > 1]
        return event_log.exported(key, record, events, slates.values(), answers)

    async def erase(self, key: ProfileKey) -> dict[str, int]:
        place = self._place(key)
        unexpired = await self._unexpired(place)
        # Answers go after the profile: a lease that a look-up gives meanwhile stands for a state that is gone, and goes too.
        keys = (place.profile, place.served, place.kept)
        n_fields, n_profiles, *_ = await self._server.ask([("HLEN", place.kept), *(("UNLINK", one) for one in keys)])
        events, slates = await self._owned(place, b"events"), await self._owned(place, b"slates")
        await self._drop("XDEL", place.tag + b"events", [position for position, _, _ in events])
        await self._drop("XDEL", place.tag + b"slates", [position for position, _, _ in slates])
        served = {*unexpired, *(name for _, _, name in slates)}
        await self._server.ask([("UNLINK", b"rec:" + name) for name in served])
        marks = [mark for _, blob, _ in events for mark in place.marks(event_log.decode_event(blob))]
        n_marks = await self._drop("UNLINK", None, marks)
        n_answers = max(n_fields - _LEASE_FIELDS, 0)
        return {"profiles": n_profiles, "events": len(events), "slates": len(served), "answers": n_answers, "marks": n_marks}

    async def _unexpired(self, place: _Place) -> list[bytes]:
        (found,) = await self._server.ask([("ZRANGE", place.served, 0, -1)])
        return list(found)

    async def _owned(self, place: _Place, log: bytes) -> list[tuple[bytes, bytes, bytes]]:
        owned: list[tuple[bytes, bytes, bytes]] = []
        start = b"-"
        while start != b"(":
            call = _script(scripts.OWNED, [place.tag + log], start, _LOOKED_AT, place.digest)
            ((last, found),) = await self._server.ask([call])
            owned += (tuple(entry) for entry in found)
            start = b"(" + last
        return owned

    async def _drop(self, command: str, log: bytes | None, names: Sequence[bytes]) -> int:
        head = (command,) if log is None else (command, log)
        return sum(await self._server.ask([(*head, *chunk) for chunk in _chunks(names, _PER_ROUND_TRIP)]))

    async def scrub(self) -> bool:
        """As promised by `OnlineStore`; a server without an append-only file has nothing to rewrite and writes one."""
        try:
            await self._server.ask([("BGREWRITEAOF",)])
        except StoreError as problem:
            if "already in progress" in str(problem):
                return False
            raise
        return True

    async def ping(self) -> float:
        started_s = time.perf_counter()
        await self._server.ask([("PING",)])
        return time.perf_counter() - started_s

    async def close(self) -> None:
        await self._server.close()

    def _place(self, key: ProfileKey) -> _Place:
        digest = event_log.digest(key)
        shard = event_log.shard_of_digest(digest, self._settings.n_shards)
        return _Place(_tag(shard), event_log.address(key).encode(), digest)

    def _by_shard(self, keys: Sequence[ProfileKey]) -> dict[bytes, list[tuple[int, _Place]]]:
        groups: dict[bytes, list[tuple[int, _Place]]] = {}
        for row, key in enumerate(keys):
            place = self._place(key)
            groups.setdefault(place.tag, []).append((row, place))
        return groups


def _record(
    key: ProfileKey,
    state: bytes | None,
    inbox: bytes | None,
    settings: bytes | None,
    version: bytes | None,
    generation: bytes | None,
) -> ProfileRecord:
    try:
        wanted = _settings_decoder.decode(settings) if settings else ProfileSettings()
    except msgspec.DecodeError as problem:
        raise DataError(
            f"settings of profile {key} are {settings!r} ({problem}); expected ProfileSettings: put them again"
        ) from problem
    return ProfileRecord(state or b"", inbox or b"", wanted, int(version or 0), int(generation or 0))

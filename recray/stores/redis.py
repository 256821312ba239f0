"""The online store on a RESP server: Redis 7 or later, or Valkey, standalone or as a cluster.

Keys (all but the last four carry their shard as hash tag, so that one script can log an event and change its profile, and every
command stays on one slot of a cluster):

    {s3}p:<user>/<profile>   hash     state, inbox, settings, version, generation
    {s3}d:<mark> {s3}w:<mark>         dedup marks of an event's id and of its packed form, with TTL
    {s3}events {s3}slates    stream   the two logs
    {s3}a:<user>/<profile>   hash     answers kept for reuse, under a lease, with TTL
    {s3}r:<user>/<profile>   zset     recommendation ids whose record has not expired, by expiry
    {s3}erased               hash     erasures that the lake does not know, with their log position
    rec:<recommendation id>           the encoded SlateServed, with TTL; found without knowing the profile
    recray:log_id                     the name of the event log
    recray:note:<name>                a background process's notice
    recray:n_shards                   the number of shards that the data is laid out for
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from recray.errors import DataError, StoreError
from recray.schema import ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores import event_log, scripts
from recray.stores.log_group import Entry, Lag, LogGroup, order
from recray.stores.online import Arrival, Found, Keeping, ProfileRecord, Verdict, Wanted
from recray.stores.redis_group import RedisGroup
from recray.stores.redis_keys import Place, chunks, record_key, script_call, tag_of
from recray.stores.resp import Command, RespClient
from recray.stores.resp_cluster import RespCluster, is_cluster

T = TypeVar("T")

_FIELDS: Final = (b"s", b"i", b"c", b"v", b"g")
_LEASE_FIELDS: Final = 3
_PER_SCRIPT: Final = 100
"""Events or profiles that one script handles: 0.5 ms of the server's one thread."""
_PER_ROUND_TRIP: Final = 1_000
_LOOKED_AT: Final = 2_000
"""Log entries that one step of export or erase reads: 1 ms of the server's one thread."""
_COUNTED: Final = 100_000
_settings_decoder: Final = msgspec.json.Decoder(ProfileSettings)


class RedisStore:
    """An `OnlineStore` on a RESP server, or on a cluster if the URL's scheme ends in `+cluster`; used from one event loop."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        self._settings = settings
        self._server = (RespCluster if is_cluster(url) else RespClient)(url, settings)

    async def read(self, keys: Sequence[ProfileKey]) -> list[ProfileRecord]:
        answers = await self._server.ask([("HMGET", self._place(key).profile, *_FIELDS) for key in keys])
        return [_record(key, *answer) for key, answer in zip(keys, answers, strict=True)]

    async def append(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        calls: list[Command] = []
        rows: list[int] = []
        for tag, members in self._by_shard([arrival.key for arrival in arrivals]).items():
            for chunk in chunks(members, _PER_SCRIPT):
                keys: list[bytes] = [tag + b"events"]
                args: list[Any] = [self._settings.dedup_ttl_s]
                for row, place in chunk:
                    arrival = arrivals[row]
                    keys += (place.profile, *place.marks(arrival))
                    args += (place.digest, event_log.inbox_word(arrival), event_log.encode_event(arrival))
                    rows.append(row)
                calls.append(script_call(scripts.APPEND, keys, *args))
        accepted = [flag for answer in await self._server.ask(calls) for flag in answer]
        verdicts = [Verdict.DUPLICATE] * len(arrivals)
        for row, flag in zip(rows, accepted, strict=True):
            if flag:
                verdicts[row] = Verdict.ACCEPTED
        return verdicts

    async def settle(self, key: ProfileKey, state: bytes, n_folded_bytes: int, generation: int) -> bool:
        call = script_call(scripts.SETTLE, [self._place(key).profile], generation, n_folded_bytes, state)
        return bool((await self._server.ask([call]))[0])

    async def put_settings(self, key: ProfileKey, settings: ProfileSettings) -> int:
        call = script_call(scripts.SETTINGS, [self._place(key).profile], msgspec.json.encode(settings))
        return int((await self._server.ask([call]))[0])

    async def load(
        self, profiles: Sequence[tuple[ProfileKey, bytes, ProfileSettings]], versions: Sequence[int] | None = None
    ) -> list[bool]:
        written = [False] * len(profiles)
        for start in range(0, len(profiles), _PER_ROUND_TRIP):
            calls, rows = [], []
            part = profiles[start : start + _PER_ROUND_TRIP]
            for members in self._by_shard([key for key, _, _ in part]).values():
                for chunk in chunks(members, _PER_SCRIPT):
                    args: list[Any] = []
                    for row, _ in chunk:
                        _, state, settings = part[row]
                        args += (state, msgspec.json.encode(settings), "" if versions is None else versions[start + row])
                        rows.append(start + row)
                    calls.append(script_call(scripts.LOAD, [place.profile for _, place in chunk], *args))
            for row, flag in zip(rows, (flag for answer in await self._server.ask(calls) for flag in answer), strict=True):
                written[row] = bool(flag)
        return written

    async def look_up(self, wanted: Sequence[Wanted], ttl_s: int) -> list[Found]:
        calls = []
        for one in wanted:
            place = self._place(one.key)
            args = (one.name, one.new_lease, one.copy_lease, ttl_s)
            calls.append(script_call(scripts.LOOK_UP, [place.profile, place.kept], *args))
        return [Found(*answer) for answer in await self._server.ask(calls)]

    async def keep(self, answers: Sequence[Keeping], most_bytes: int) -> list[bool]:
        calls = []
        for one in answers:
            place = self._place(one.key)
            calls.append(script_call(scripts.KEEP, [place.profile, place.kept], one.name, one.lease, one.blob, most_bytes))
        return [bool(done) for done in await self._server.ask(calls)]

    async def log_slates(self, slates: Sequence[tuple[str, ProfileKey, bytes]]) -> None:
        longest = max(self._settings.slates_max_length // self._settings.n_shards, 1)
        ttl_s = self._settings.record_ttl_s
        indexed: list[Command] = []
        for recommendation_id, key, blob in slates:
            place = self._place(key)
            keys = [place.tag + b"slates", place.served]
            indexed.append(script_call(scripts.SERVED, keys, place.digest, recommendation_id, blob, longest, ttl_s))
        records = [("SET", record_key(recommendation_id), blob, "EX", ttl_s) for recommendation_id, _, blob in slates]
        # The index goes first: an id without a record is harmless, a record that erase cannot find is not.
        await self._server.ask_after(indexed, records)

    async def slate(self, recommendation_id: str) -> bytes | None:
        return (await self._server.ask([("GET", record_key(recommendation_id))]))[0]

    async def events(self, shard: int, after: str, limit: int) -> list[tuple[str, dict[str, Any]]]:
        found = await self.entries(shard, after, limit)
        return [(entry.position, event_log.facts(event_log.decode_event(entry.blob))) for entry in found]

    async def entries(self, shard: int, after: str, limit: int) -> list[Entry]:
        found = await self._after(tag_of(shard) + b"events", after, limit)
        return [Entry(position.decode(), values[b"e"], values[b"p"]) for position, values in found]

    async def slates(self, shard: int, after: str, limit: int) -> list[tuple[str, bytes]]:
        found = await self._after(tag_of(shard) + b"slates", after, limit)
        return [(position.decode(), values[b"e"]) for position, values in found]

    async def _after(self, log: bytes, after: str, limit: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        (found,) = await self._server.ask([("XRANGE", log, f"({after}" if after else "-", "+", "COUNT", limit)])
        return found

    async def trim(self, shard: int, through: str) -> int:
        at_ms, _, number = through.partition("-")
        if not (at_ms.isdecimal() and number.isdecimal()):
            raise StoreError(f"log position is {through!r}; expected one that this store gave")
        return int((await self._server.ask([script_call(scripts.TRIM, [tag_of(shard) + b"events"], through)]))[0])

    async def log_id(self) -> str:
        made = uuid.uuid4().hex[:12]
        _, held = await self._server.ask([("SET", "recray:log_id", made, "NX"), ("GET", "recray:log_id")])
        return held.decode()

    def group(self, name: str, member: str, claim_idle_s: float) -> LogGroup:
        return RedisGroup(self._server, [tag + b"events" for tag in self._tags()], name, member, claim_idle_s)

    async def lag(self, group: str) -> Lag:
        calls = [script_call(scripts.LAG, [tag + b"events"], group, _COUNTED) for tag in self._tags()]
        answers = await self._server.ask(calls)
        return Lag(sum(n for n, _ in answers), max(ms for _, ms in answers) / 1_000)

    async def erasures(self) -> dict[bytes, tuple[int, str]]:
        answers = await self._server.ask([("HGETALL", tag + b"erased") for tag in self._tags()])
        return {mark: (shard, at.decode()) for shard, held in enumerate(answers) for mark, at in held.items()}

    async def forget_erasures(self, known: Mapping[bytes, tuple[int, str]]) -> None:
        held = [(tag_of(shard) + b"erased", mark, position) for mark, (shard, position) in known.items()]
        await self._server.ask([script_call(scripts.FORGET, [at], mark, position) for at, mark, position in held])

    async def note(self, name: str, facts: bytes) -> None:
        await self._server.ask([("SET", f"recray:note:{name}", facts)])

    async def noted(self, name: str) -> bytes | None:
        return (await self._server.ask([("GET", f"recray:note:{name}")]))[0]

    def _tags(self) -> list[bytes]:
        return [tag_of(shard) for shard in range(self._settings.n_shards)]

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
        keys = [place.profile, place.served, place.tag + b"events", place.tag + b"erased"]
        erasing = script_call(scripts.ERASE, keys, event_log.erasure_mark(place.digest))
        # Answers go after the profile: a lease that a look-up gives meanwhile stands for a state that is gone, and goes too.
        counted_and_erased = [("HLEN", place.kept), erasing]
        n_fields, (n_profiles, last), _ = await self._server.ask_after(counted_and_erased, [("UNLINK", place.kept)])
        until = order(last.decode())
        events = [entry for entry in await self._owned(place, b"events") if order(entry[0].decode()) <= until]
        slates = await self._owned(place, b"slates")
        await self._drop("XDEL", place.tag + b"events", [position for position, _, _ in events])
        await self._drop("XDEL", place.tag + b"slates", [position for position, _, _ in slates])
        served = {*unexpired, *(name for _, _, name in slates)}
        await self._server.ask([("UNLINK", b"rec:" + name) for name in served])
        arrivals = [event_log.readable(blob) for _, blob, _ in events]
        marks = [mark for arrival in arrivals if arrival is not None for mark in place.marks(arrival)]
        n_marks = await self._drop("UNLINK", None, marks)
        n_answers = max(n_fields - _LEASE_FIELDS, 0)
        return {"profiles": n_profiles, "events": len(events), "slates": len(served), "answers": n_answers, "marks": n_marks}

    async def _unexpired(self, place: Place) -> list[bytes]:
        (found,) = await self._server.ask([("ZRANGE", place.served, 0, -1)])
        return list(found)

    async def _owned(self, place: Place, log: bytes) -> list[tuple[bytes, bytes, bytes]]:
        owned: list[tuple[bytes, bytes, bytes]] = []
        start = b"-"
        while start != b"(":
            call = script_call(scripts.OWNED, [place.tag + log], start, _LOOKED_AT, place.digest)
            ((last, found),) = await self._server.ask([call])
            owned += (tuple(entry) for entry in found)
            start = b"(" + last
        return owned

    async def _drop(self, command: str, log: bytes | None, names: Sequence[bytes]) -> int:
        head = (command,) if log is None else (command, log)
        return sum(await self._server.ask([(*head, *chunk) for chunk in chunks(names, _PER_ROUND_TRIP)]))

    async def scrub(self) -> bool:
        """As promised by `OnlineStore`; a server without an append-only file has nothing to rewrite and writes one."""
        try:
            await self._server.ask_everywhere(("BGREWRITEAOF",))
        except StoreError as problem:
            if "already in progress" in str(problem):
                return False
            raise
        return True

    async def ping(self) -> float:
        started_s = time.perf_counter()
        await self._server.ask_everywhere(("PING",))
        return time.perf_counter() - started_s

    async def close(self) -> None:
        await self._server.close()

    def _place(self, key: ProfileKey) -> Place:
        return Place.of(key, self._settings.n_shards)

    def _by_shard(self, keys: Sequence[ProfileKey]) -> dict[bytes, list[tuple[int, Place]]]:
        groups: dict[bytes, list[tuple[int, Place]]] = {}
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

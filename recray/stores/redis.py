"""The online store on a RESP server: Redis 7 or later, or Valkey, standalone or as a cluster.

Keys (all but the last five carry their shard as hash tag, so that one script can log an event and change its profile, and every
command stays on one slot of a cluster):

    {s3}p:<user>/<profile>   hash     state, inbox, settings, version, generation
    {s3}d:<mark> {s3}w:<mark>         dedup marks of an event's id and of its packed form, with TTL
    {s3}events {s3}slates    stream   the two logs
    {s3}a:<user>/<profile>   hash     answers kept for reuse, under a lease, with TTL
    {s3}r:<user>/<profile>   zset     recommendation ids whose record has not expired, by expiry
    {s3}erased               hash     erasures that the lake does not know, with their log position
    {s3}epoch {s3}cuts       what the shard was brought to when the store grew, and where its log ended each time
    rec:<recommendation id>           the encoded SlateServed, with TTL; found without knowing the profile
    recray:log_id                     the name of the event log
    recray:note:<name>                a background process's notice
    recray:versions:<name>   hash     the last versions of what a background process makes (`redis_versions`)
    recray:n_shards                   the numbers of shards that the store had and has (`layout.py`)
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from recray.errors import DataError, StoreError
from recray.schema import ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores import event_log, scripts, scripts_group
from recray.stores.growing import Moved, grow
from recray.stores.known_layout import KnownLayout
from recray.stores.log_group import Entry, Lag, LogGroup
from recray.stores.memory_use import MemoryUse, memory_use
from recray.stores.online import Arrival, Found, Keeping, ProfileRecord, Verdict, Wanted
from recray.stores.places import Asked, Places, Rows, reading
from recray.stores.redis_group import RedisGroup
from recray.stores.redis_keys import record_key, script_call, tag_of
from recray.stores.redis_privacy import RedisPrivacy
from recray.stores.redis_versions import RedisVersions
from recray.stores.resp import RespClient
from recray.stores.resp_cluster import RespCluster, is_cluster
from recray.stores.versions import Versions

_PER_ROUND_TRIP: Final = 1_000
_COUNTED: Final = 100_000
_settings_decoder: Final = msgspec.json.Decoder(ProfileSettings)


class RedisStore:
    """An `OnlineStore` on a RESP server, or on a cluster if the URL's scheme ends in `+cluster`; used from one event loop."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        self._settings = settings
        self._server = (RespCluster if is_cluster(url) else RespClient)(url, settings)
        self._known = KnownLayout(self._server, settings)
        self._places = Places(self._server, self._known)

    async def n_shards(self) -> int:
        return (await self._known.read()).n_shards

    async def grow(self, n_shards: int, told: Callable[[Moved], None]) -> Moved:
        """Have so many shards, as `growing.grow`."""
        return await grow(self._server, self._known, n_shards, told)

    async def memory(self, most_keys: int) -> MemoryUse:
        """What memory goes to, as `memory_use`."""
        return await memory_use(self._server, await self.n_shards(), most_keys)

    async def read(self, keys: Sequence[ProfileKey]) -> list[ProfileRecord]:
        answers = await self._places.each(keys, reading)
        return [_record(key, *answer) for key, answer in zip(keys, answers, strict=True)]

    async def append(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        def call(own: Rows) -> Asked:
            keys: list[bytes] = [own[0][1].tag + b"events"]
            args: list[Any] = [self._settings.dedup_ttl_s]
            for row, place in own:
                arrival = arrivals[row]
                keys += (place.profile, *place.marks(arrival))
                args += (place.digest, event_log.inbox_word(arrival), event_log.encode_event(arrival))
            return Asked(scripts.APPEND, keys, args, of_many=True)

        accepted = await self._places.each([arrival.key for arrival in arrivals], call, arrivals=arrivals)
        return [Verdict.ACCEPTED if flag else Verdict.DUPLICATE for flag in accepted]

    async def settle(self, key: ProfileKey, state: bytes, n_folded_bytes: int, generation: int) -> bool:
        args = (generation, n_folded_bytes, state)
        return bool(await self._places.one(key, lambda place: Asked(scripts.SETTLE, [place.profile], args)))

    async def put_settings(self, key: ProfileKey, settings: ProfileSettings) -> int:
        args = (msgspec.json.encode(settings),)
        return int(await self._places.one(key, lambda place: Asked(scripts.SETTINGS, [place.profile], args)))

    async def load(
        self, profiles: Sequence[tuple[ProfileKey, bytes, ProfileSettings]], versions: Sequence[int] | None = None
    ) -> list[bool]:
        written: list[bool] = []
        for start in range(0, len(profiles), _PER_ROUND_TRIP):
            part = profiles[start : start + _PER_ROUND_TRIP]
            wanted = [""] * len(part) if versions is None else versions[start : start + _PER_ROUND_TRIP]

            def call(own: Rows, part: Any = part, wanted: Any = wanted) -> Asked:
                args: list[Any] = []
                for row, _ in own:
                    args += (part[row][1], msgspec.json.encode(part[row][2]), wanted[row])
                return Asked(scripts.LOAD, [place.profile for _, place in own], args, of_many=True)

            written += map(bool, await self._places.each([key for key, _, _ in part], call))
        return written

    async def look_up(self, wanted: Sequence[Wanted], ttl_s: int) -> list[Found]:
        def call(own: Rows) -> Asked:
            ((row, place),) = own
            one = wanted[row]
            return Asked(scripts.LOOK_UP, [place.profile, place.kept], (one.name, one.new_lease, one.copy_lease, ttl_s))

        return [Found(lease, blob) for lease, blob in await self._places.each([one.key for one in wanted], call, per_call=1)]

    async def keep(self, answers: Sequence[Keeping], most_bytes: int) -> list[bool]:
        def call(own: Rows) -> Asked:
            ((row, place),) = own
            one = answers[row]
            return Asked(scripts.KEEP, [place.profile, place.kept], (one.name, one.lease, one.blob, most_bytes))

        return [bool(done) for done in await self._places.each([one.key for one in answers], call, per_call=1)]

    async def log_slates(self, slates: Sequence[tuple[str, ProfileKey, bytes]]) -> None:
        longest = max(self._settings.slates_max_length // (await self._known.held()).n_shards, 1)
        ttl_s = self._settings.record_ttl_s

        def call(own: Rows) -> Asked:
            ((row, place),) = own
            recommendation_id, _, blob = slates[row]
            keys = [place.tag + b"slates", place.served]
            return Asked(scripts.SERVED, keys, (place.digest, recommendation_id, blob, longest, ttl_s))

        # The index goes first: an id without a record is harmless, a record that erase cannot find is not.
        records = [("SET", record_key(recommendation_id), blob, "EX", ttl_s) for recommendation_id, _, blob in slates]
        await self._places.each([key for _, key, _ in slates], call, per_call=1, then=records)

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
        return int((await self._server.ask([script_call(scripts_group.TRIM, [tag_of(shard) + b"events"], through)]))[0])

    async def log_id(self) -> str:
        made = uuid.uuid4().hex[:12]
        _, held = await self._server.ask([("SET", "recray:log_id", made, "NX"), ("GET", "recray:log_id")])
        return held.decode()

    def group(self, name: str, member: str, claim_idle_s: float) -> LogGroup:
        return RedisGroup(self._server, self._known, name, member, claim_idle_s)

    async def disband(self, group: str) -> None:
        await self._server.ask([script_call(scripts_group.DISBAND, [tag + b"events"], group) for tag in await self._tags()])

    def versions(self, name: str) -> Versions:
        return RedisVersions(self._server, b"recray:versions:" + name.encode())

    async def lag(self, group: str) -> Lag:
        calls = [script_call(scripts_group.LAG, [tag + b"events"], group, _COUNTED) for tag in await self._tags()]
        answers = await self._server.ask(calls)
        return Lag(sum(n for n, _ in answers), max(ms for _, ms in answers) / 1_000)

    async def erasures(self) -> dict[bytes, tuple[int, str]]:
        answers = await self._server.ask([("HGETALL", tag + b"erased") for tag in await self._tags()])
        return {mark: (shard, at.decode()) for shard, held in enumerate(answers) for mark, at in held.items()}

    async def forget_erasures(self, known: Mapping[bytes, tuple[int, str]]) -> None:
        held = [(tag_of(shard) + b"erased", mark, position) for mark, (shard, position) in known.items()]
        await self._server.ask([script_call(scripts.FORGET, [at], mark, position) for at, mark, position in held])

    async def note(self, name: str, facts: bytes) -> None:
        await self._server.ask([("SET", f"recray:note:{name}", facts)])

    async def noted(self, name: str) -> bytes | None:
        return (await self._server.ask([("GET", f"recray:note:{name}")]))[0]

    async def _tags(self) -> list[bytes]:
        return [tag_of(shard) for shard in range(await self.n_shards())]

    async def export(self, key: ProfileKey) -> dict[str, Any]:
        (record,) = await self.read([key])
        return await RedisPrivacy(self._server, self._known, self._places).export(key, record)

    async def erase(self, key: ProfileKey) -> dict[str, int]:
        return await RedisPrivacy(self._server, self._known, self._places).erase(key)

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

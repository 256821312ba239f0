"""A consumer group of the event log on a RESP server: streams, their groups, and scripts that keep each step whole.

The store may grow while members are at work. A shard that profiles came to is then read only once the group has finished what
those profiles left behind in the shard that they came from: so each profile's events are taken in the order they came in.
"""

from collections.abc import Mapping, Sequence

from recray.stores import scripts_group, scripts_moving
from recray.stores.known_layout import KnownLayout
from recray.stores.layout import Layout
from recray.stores.log_group import Entry, Held
from recray.stores.redis_keys import LAYOUT, tag_of
from recray.stores.resp import Command, RespClient
from recray.stores.scripts import Script


class RedisGroup:
    """A `LogGroup` over the streams of all shards. State: how many they are, and which of them wait for another."""

    def __init__(self, server: RespClient, known: KnownLayout, group: str, member: str, claim_idle_s: float) -> None:
        self._server = server
        self._known = known
        self._group = group
        self._member = member
        self._idle_ms = int(claim_idle_s * 1_000)
        self._layout: Layout | None = None
        self._waiting: set[int] = set()

    async def begin(self, through: Mapping[int, str]) -> None:
        self._layout = await self._known.read()
        self._waiting = set(range(self._layout.counts[0], self._layout.n_shards))
        await self._server.ask([
            _call(scripts_group.BEGIN, shard, self._group, through.get(shard) or "0-0", self._member, self._idle_ms)
            for shard in range(self._layout.n_shards)
        ])  # fmt: skip

    async def take(self, limit: int, *, again: bool = False, fresh: bool = True) -> dict[int, list[Entry]]:
        await self._keep_pace()
        said = (self._group, self._member, limit, self._idle_ms, "again" if again else "fresh" if fresh else "left")
        shards = [shard for shard in range(self._n_shards()) if shard not in self._waiting]
        answers = await self._server.ask([_call(scripts_group.TAKE, shard, *said) for shard in shards])
        return {
            shard: [Entry(position.decode(), blob, profile) for position, blob, profile in found]
            for shard, found in zip(shards, answers, strict=True)
            if found
        }

    def n_kept_back(self) -> int:
        return len(self._waiting)

    async def held(self, limit: int) -> dict[int, list[Held]]:
        shards = range(self._n_shards())
        answers = await self._server.ask([_call(scripts_group.HELD, shard, self._group, limit) for shard in shards])
        own = self._member.encode()
        return {
            shard: [Held(position.decode(), member == own, n_tries) for position, member, _, n_tries in found]
            for shard, found in enumerate(answers)
            if found
        }

    async def retry(self, positions: Mapping[int, Sequence[str]]) -> None:
        await self._server.ask([
            _call(scripts_group.RETRY, shard, self._group, self._member, *tried)
            for shard, tried in positions.items() if tried
        ])  # fmt: skip

    async def finish(self, through: Mapping[int, str]) -> int:
        calls = [_call(scripts_group.FINISH, shard, self._group, last) for shard, last in through.items() if last]
        return sum(await self._server.ask(calls))

    def _n_shards(self) -> int:
        return self._layout.n_shards if self._layout else 0

    async def _keep_pace(self) -> None:
        """Join the logs of shards that the store got since, and see which shards have not to wait any more."""
        (text,) = await self._server.ask([("GET", LAYOUT)])
        if self._layout is None or text != self._layout.text():
            before, self._layout = self._n_shards(), await self._known.read()
            added = range(before, self._layout.n_shards)
            self._waiting |= set(added) - set(range(self._layout.counts[0]))
            await self._server.ask([_call(scripts_moving.JOIN, shard, self._group) for shard in added])
        for shard in sorted(self._waiting):
            if await self._is_free(self._layout, shard):
                self._waiting.discard(shard)

    async def _is_free(self, layout: Layout, shard: int) -> bool:
        came_from = layout.origin(shard)
        assert came_from is not None
        parent, epoch = came_from
        (cut,) = await self._server.ask([("HGET", tag_of(parent) + b"cuts", epoch)])
        if cut is None or parent in self._waiting:
            return False
        (is_drained,) = await self._server.ask([_call(scripts_moving.DRAINED, parent, self._group, cut)])
        return bool(is_drained)


def _call(script: Script, shard: int, *args: str | int) -> Command:
    return ("EVALSHA", script.sha, 1, tag_of(shard) + b"events", *args)

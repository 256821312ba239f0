"""A consumer group of the event log on a RESP server: streams, their groups, and scripts that keep each step whole."""

from collections.abc import Mapping, Sequence

from recray.stores import scripts
from recray.stores.log_group import Entry, Held
from recray.stores.resp import Command, RespClient


class RedisGroup:
    """A `LogGroup` over the streams of all shards, given in their order."""

    def __init__(self, server: RespClient, logs: Sequence[bytes], group: str, member: str, claim_idle_s: float) -> None:
        self._server = server
        self._logs = logs
        self._group = group
        self._member = member
        self._idle_ms = int(claim_idle_s * 1_000)

    async def begin(self, through: Mapping[int, str]) -> None:
        await self._server.ask([
            _call(scripts.BEGIN, log, self._group, through.get(shard) or "0-0", self._member, self._idle_ms)
            for shard, log in enumerate(self._logs)
        ])  # fmt: skip

    async def take(self, limit: int, *, again: bool = False) -> dict[int, list[Entry]]:
        said = (self._group, self._member, limit, self._idle_ms, "0" if again else ">")
        answers = await self._server.ask([_call(scripts.TAKE, log, *said) for log in self._logs])
        return {
            shard: [Entry(position.decode(), blob, profile) for position, blob, profile in found]
            for shard, found in enumerate(answers)
            if found
        }

    async def held(self, limit: int) -> dict[int, list[Held]]:
        answers = await self._server.ask([_call(scripts.HELD, log, self._group, limit) for log in self._logs])
        own = self._member.encode()
        return {
            shard: [Held(position.decode(), member == own, n_tries) for position, member, _, n_tries in found]
            for shard, found in enumerate(answers)
            if found
        }

    async def retry(self, positions: Mapping[int, Sequence[str]]) -> None:
        await self._server.ask([
            _call(scripts.RETRY, self._logs[shard], self._group, self._member, *tried)
            for shard, tried in positions.items() if tried
        ])  # fmt: skip

    async def finish(self, through: Mapping[int, str]) -> int:
        calls = [_call(scripts.FINISH, self._logs[shard], self._group, last) for shard, last in through.items() if last]
        return sum(await self._server.ask(calls))


def _call(script: scripts.Script, log: bytes, *args: str | int) -> Command:
    return ("EVALSHA", script.sha, 1, log, *args)

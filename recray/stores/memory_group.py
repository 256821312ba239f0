"""Consumer groups over the logs of a store in one process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from recray.stores.log_group import Entry, Held, order


@dataclass(slots=True)
class GroupState:
    """One shard of one group: the last entry given out, who has what (member, since, tries), and when members came last."""

    given: int = 0
    held: dict[int, tuple[str, float, int]] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)


class Logs(Protocol):
    """What a group needs of the logs of the store that it belongs to."""

    async def entries(self, shard: int, after: str, limit: int) -> list[Entry]:
        """Entries of a shard after a position."""
        ...

    async def trim(self, shard: int, through: str) -> int:
        """Forget entries up to a position that no group needs."""
        ...


class MemoryGroup:
    """A `LogGroup` on dictionaries; `states` belongs to the store and is shared by the group's members."""

    def __init__(
        self, logs: Logs, states: Sequence[GroupState], member: str, claim_idle_s: float, now: Callable[[], float]
    ) -> None:
        self._logs = logs
        self._states = states
        self._member = member
        self._idle_s = claim_idle_s
        self._now = now

    async def begin(self, through: Mapping[int, str]) -> None:
        for shard, state in enumerate(self._states):
            last = order(through.get(shard) or "")[0]
            _forget(state, last)
            others = [seen for member, seen in state.seen.items() if member != self._member]
            if all(self._now() - seen >= self._idle_s for seen in others):
                state.given = last

    async def take(self, limit: int, *, again: bool = False, fresh: bool = True) -> dict[int, list[Entry]]:
        found = {}
        for shard, state in enumerate(self._states):
            found[shard] = await self._kept(shard, state, limit, again)
            if fresh and not again:
                found[shard] += await self._new(shard, state, limit)
        return {shard: entries for shard, entries in found.items() if entries}

    async def _kept(self, shard: int, state: GroupState, limit: int, again: bool) -> list[Entry]:
        now = self._now()
        state.seen[self._member] = now
        kept = [n for n, (owner, since, _) in sorted(state.held.items())
                if (owner == self._member if again else now - since >= self._idle_s)][:limit]  # fmt: skip
        for number in kept:
            state.held[number] = (self._member, now, state.held[number][2] + 1)
        return [await self._entry(shard, number) for number in kept]

    async def _new(self, shard: int, state: GroupState, limit: int) -> list[Entry]:
        new = await self._logs.entries(shard, str(state.given), limit)
        for entry in new:
            state.given = int(entry.position)
            state.held[state.given] = (self._member, self._now(), 1)
        return new

    async def _entry(self, shard: int, number: int) -> Entry:
        found = await self._logs.entries(shard, str(number - 1), 1)
        return found[0] if found and found[0].position == str(number) else Entry(str(number), b"", b"")

    def n_kept_back(self) -> int:
        return 0

    async def held(self, limit: int) -> dict[int, list[Held]]:
        listed = {
            shard: [Held(str(n), owner == self._member, tries) for n, (owner, _, tries) in sorted(state.held.items())[:limit]]
            for shard, state in enumerate(self._states)
        }
        return {shard: found for shard, found in listed.items() if found}

    async def retry(self, positions: Mapping[int, Sequence[str]]) -> None:
        for shard, tried in positions.items():
            held = self._states[shard].held
            for number in map(int, tried):
                held[number] = (self._member, self._now(), held[number][2] + 1)

    async def finish(self, through: Mapping[int, str]) -> int:
        n_trimmed = 0
        for shard, last in through.items():
            _forget(self._states[shard], order(last)[0])
            n_trimmed += await self._logs.trim(shard, last)
        return n_trimmed


def _forget(state: GroupState, last: int) -> None:
    for number in [number for number in state.held if number <= last]:
        del state.held[number]


def needed(states: Sequence[GroupState], number: int) -> int:
    """The last number up to `number` that no group needs, given the groups' states of one shard."""
    return min([number, *(min(state.held, default=state.given + 1) - 1 for state in states)])

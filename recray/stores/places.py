"""How what is asked about profiles reaches the shards that have them, also while the store grows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recray.errors import StoreError
from recray.schema import ProfileKey
from recray.stores.known_layout import KnownLayout, StaleError
from recray.stores.layout import Layout
from recray.stores.moving import Mover
from recray.stores.online import Arrival
from recray.stores.redis_keys import Place, chunks, mark_keys, placed_call, tag_of
from recray.stores.resp import STALE, Command, RespClient
from recray.stores.scripts import READ, Script

_PER_SCRIPT: Final = 100
"""Events or profiles that one script handles: 0.5 ms of the server's one thread."""
_ATTEMPTS: Final = 10
Rows = Sequence[tuple[int, Place]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A placed script with its keys and arguments, but for what places it; `of_many` when it answers with a list of values."""

    script: Script
    keys: Sequence[bytes]
    args: Sequence[Any] = ()
    of_many: bool = False


class Places:
    """Asks the shards of one store. State: none but the layout that is known."""

    def __init__(self, server: RespClient, known: KnownLayout) -> None:
        self._server = server
        self._known = known

    async def one(self, key: ProfileKey, call: Callable[[Place], Asked]) -> Any:
        """The answer of a script about one profile."""
        return (await self.each([key], lambda own: call(own[0][1]), per_call=1))[0]

    async def each(
        self,
        keys: Sequence[ProfileKey],
        call: Callable[[Rows], Asked],
        *,
        per_call: int = _PER_SCRIPT,
        arrivals: Sequence[Arrival] = (),
        then: Sequence[Command] = (),
    ) -> list[Any]:
        """One answer for each key, in one round trip unless the store grows.

        `call` makes a script of up to `per_call` rows of one shard. `arrivals`, one for each key, are answered 0 where the
        shard that the profile left has seen them. Commands in `then` are done after the scripts.

        Raises:
            StoreError: the store did not answer, or never stood still.
        """
        answers: list[Any] = [None] * len(keys)
        waiting: Sequence[int] = range(len(keys))
        for _ in range(_ATTEMPTS):
            layout = await self._known.held()
            places = [(row, Place.of(keys[row], layout)) for row in waiting]
            try:
                if layout.is_growing:
                    places = await self._brought(layout, places, arrivals, answers)
                stale = await self._asked(_calls(places, call, per_call), layout, answers, then)
            except StaleError as problem:
                await self._known.catch_up(problem.shards)
                continue
            if not stale:
                return answers
            waiting, then = [row for row, _ in stale], ()
            await self._known.catch_up({place.shard for _, place in stale})
        raise StoreError(f"the store's number of shards changed {_ATTEMPTS} times during one call; ask again")

    async def _brought(
        self, layout: Layout, places: list[tuple[int, Place]], arrivals: Sequence[Arrival], answers: list[Any]
    ) -> list[tuple[int, Place]]:
        """Places without rows that were answered already; all profiles are where they belong then."""
        mover = Mover(self._server, layout.epoch)
        await mover.bring(place for _, place in places)
        leaving = [(row, place.left, place.digest) for row, place in places if arrivals and place.left is not None]
        marks = [(left, *mark_keys(tag_of(left), arrivals[row], profile)) for row, left, profile in leaving]
        seen = {row for (row, _, _), known in zip(leaving, await mover.known_marks(marks), strict=True) if known}
        for row in seen:
            answers[row] = 0
        return [(row, place) for row, place in places if row not in seen]

    async def _asked(
        self, calls: Sequence[tuple[Rows, Asked]], layout: Layout, answers: list[Any], then: Sequence[Command]
    ) -> list[tuple[int, Place]]:
        """Rows whose shards are in another epoch; the others have their answers then."""
        commands = [placed_call(one.script, own[0][1].tag, layout.epoch, one.keys, *one.args) for own, one in calls]
        stale: list[tuple[int, Place]] = []
        for (own, one), answer in zip(calls, await self._server.ask_placed(commands, then), strict=True):
            if answer is STALE:
                stale += own
                continue
            for (row, _), value in zip(own, answer if one.of_many else [answer], strict=True):
                answers[row] = value
        return stale


def reading(own: Rows) -> Asked:
    """The script that reads profiles."""
    return Asked(READ, [place.profile for _, place in own], of_many=True)


def _calls(places: Rows, call: Callable[[Rows], Asked], per_call: int) -> list[tuple[Rows, Asked]]:
    by_shard: dict[int, list[tuple[int, Place]]] = {}
    for row, place in places:
        by_shard.setdefault(place.shard, []).append((row, place))
    return [(part, call(part)) for own in by_shard.values() for part in chunks(own, per_call)]

"""How a profile gets from the shard that it leaves to the one where it belongs, while the store grows.

Whoever touches a profile brings it first, and who grows the store brings all of them, in the same steps: so a profile that is
asked for is never out of reach, and a process that dies on the way leaves nothing to be undone.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from recray.errors import StoreError
from recray.stores import scripts_moving
from recray.stores.known_layout import StaleError
from recray.stores.redis_keys import Place, chunks, placed_call, tag_of
from recray.stores.resp import STALE, Command, RespClient
from recray.stores.scripts import Script

_PER_SCRIPT: Final = 50
_ATTEMPTS: Final = 20


class Mover:
    """Moves profiles from shard to shard of one store, in one epoch of its layout."""

    def __init__(self, server: RespClient, epoch: int) -> None:
        self._server = server
        self._epoch = epoch

    async def bring(self, places: Iterable[Place]) -> int:
        """Have these profiles where they belong, whoever else is moving them; returns how many were elsewhere.

        Raises:
            StaleError: a shard is in another epoch.
            StoreError: the store did not answer.
        """
        leaving = list({place.address: place for place in places if place.left is not None}.values())
        n_elsewhere = 0
        for _ in range(_ATTEMPTS):
            leaving = await self._still_there(leaving)
            n_elsewhere = n_elsewhere or len(leaving)
            if not leaving:
                return n_elsewhere
            await self._move(leaving)
        raise StoreError(f"{len(leaving)} profiles could not be moved to their new shards; the store is too busy: ask again")

    async def known_marks(self, marks: Sequence[tuple[int, bytes, bytes]]) -> list[bool]:
        """Whether either of two dedup marks is there, given with the shard that they are left in."""
        return [bool(n) for n in await self._each(scripts_moving.ANY, [(shard, list(pair)) for shard, *pair in marks])]

    async def _still_there(self, places: Sequence[Place]) -> list[Place]:
        held = await self._each(scripts_moving.ANY, [(_old(p).shard, [_old(p).profile, _old(p).served]) for p in places])
        return [place for place, n in zip(places, held, strict=True) if n]

    async def _move(self, places: Sequence[Place]) -> None:
        claim = uuid.uuid4().hex.encode()
        claimed = await self._each(scripts_moving.CLAIM, [(place.shard, [place.profile]) for place in places], claim)
        going = [place for place, was_claimed in zip(places, claimed, strict=True) if was_claimed]
        held = await self._each(scripts_moving.LEAVING, [(_old(p).shard, [_old(p).profile, _old(p).served]) for p in going])
        adopting = [
            self._call(
                scripts_moving.ADOPT, place.shard, [place.profile, place.served], claim, ttl_ms, len(fields), *fields, *ids
            )
            for place, (fields, ids, ttl_ms) in zip(going, held, strict=True)
        ]
        adopted = await self._placed(adopting, [place.shard for place in going])
        refused = {place.address for place, was_adopted in zip(going, adopted, strict=True) if not was_adopted}
        arrived = [_old(place) for place in places if place.address not in refused]
        await self._server.ask([("UNLINK", place.profile, place.served, place.kept) for place in arrived])

    async def _each(self, script: Script, asked: Sequence[tuple[int, list[bytes]]], *args: Any) -> list[Any]:
        """One answer for each (shard, keys), from scripts that handle many of a shard."""
        rows_of: dict[int, list[int]] = {}
        for row, (shard, _) in enumerate(asked):
            rows_of.setdefault(shard, []).append(row)
        calls: list[Command] = []
        rows: list[int] = []
        shards: list[int] = []
        for shard, own in rows_of.items():
            for chunk in chunks(own, _PER_SCRIPT):
                calls.append(self._call(script, shard, [key for row in chunk for key in asked[row][1]], *args))
                shards.append(shard)
                rows += chunk
        told = [one for answer in await self._placed(calls, shards) for one in answer]
        answers: list[Any] = [None] * len(asked)
        for row, one in zip(rows, told, strict=True):
            answers[row] = one
        return answers

    def _call(self, script: Script, shard: int, keys: Sequence[bytes], *args: Any) -> Command:
        return placed_call(script, tag_of(shard), self._epoch, keys, *args)

    async def _placed(self, calls: Sequence[Command], shards: Sequence[int]) -> list[Any]:
        answers = await self._server.ask_placed(calls)
        stale = {shard for shard, answer in zip(shards, answers, strict=True) if answer is STALE}
        if stale:
            raise StaleError(stale)
        return answers


def _old(place: Place) -> Place:
    assert place.left is not None
    return Place(place.left, place.address, place.digest)

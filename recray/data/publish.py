"""[Ray Data] States of every profile, folded from the lake's events, into the online store, while events go on arriving.

A published state is the fold of the snapshot's events and of all that came since (`Tail`). It replaces what the store holds
only if nothing that folds arrived meanwhile, so an acknowledged event is in the state once: from the lake, from the log, or by
trying again.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias

from recray.data.grouped import folded, settings_of
from recray.data.tail import Tail
from recray.errors import StoreError
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import ProfileKey, ProfileSettings
from recray.settings import Settings
from recray.stores.erased import Erased
from recray.stores.lake import Lake
from recray.stores.online import OnlineStore
from recray.stores.privacy import carry_erasures
from recray.stores.sunk import SunkEvents

_CHUNK: Final = 1_000
_ATTEMPTS: Final = 50
Folded: TypeAlias = dict[ProfileKey, tuple[bytes, ProfileSettings]]


def publish(lake: Lake, name: str, store: OnlineStore, settings: Settings) -> int:
    """Write states and settings of every profile of a set to the store; profiles without events get their settings.

    Settings that were put online stay. Profiles that are erased meanwhile are left alone. Returns how many profiles were
    written; stopped at any point, the store holds whole and current states, and repeating it goes over all of them.

    Raises:
        DataError: the set has no events, or the lake cannot be read.
        StoreError: the store did not answer, or a profile never stood still.
    """
    snapshot, titles = lake.snapshot(name), lake.table(name, "titles")
    number_of = {content_id: number for number, content_id in enumerate(titles["content_id"].to_pylist())}
    states = folded(snapshot, number_of, settings.training.n_blocks)
    tail = Tail(lake, name, snapshot, number_of, store)
    publisher = Publisher(store, tail, lake.sunk(name), snapshot.erased)
    return asyncio.run(publisher.publish(states.iter_rows(), settings_of(lake.table(name, "profiles"))))


@dataclass(frozen=True, slots=True)
class Publisher:
    """Where states go, what came after the snapshot that they were folded from, and whom the snapshot knew as erased."""

    store: OnlineStore
    tail: Tail
    sunk: SunkEvents
    erased: Erased

    async def publish(self, rows: Iterable[dict[str, Any]], settings: dict[ProfileKey, ProfileSettings]) -> int:
        """Write states as they are folded, in chunks, and settings of profiles without events; returns how many profiles."""
        try:
            return sum([await self.write(chunk) for chunk in _chunks(_records(rows, settings))])
        finally:
            await self.store.close()

    async def write(self, states: Folded) -> int:
        """Write states that were folded from the snapshot, brought up to date; returns how many.

        Raises:
            StoreError: the store did not answer, or a profile never stood still.
        """
        n_written = 0
        waiting = dict(states)
        for _ in range(_ATTEMPTS):
            versions = [record.version for record in await self.store.read(list(waiting))]
            left_alone = await self._erased_since(waiting)
            await self.tail.advance()
            loaded = [
                (key, self._current(key, state), settings)
                for key, (state, settings) in waiting.items()
                if key not in left_alone
            ]
            wanted = [version for key, version in zip(waiting, versions, strict=True) if key not in left_alone]
            written = await self.store.load(loaded, wanted)
            n_written += sum(written)
            done = {key for (key, _, _), was_written in zip(loaded, written, strict=True) if was_written}
            for key in await self._erased_since(done):
                await self.store.erase(key)
            waiting = {key: waiting[key] for key in waiting if key not in done and key not in left_alone}
            if not waiting:
                return n_written
        key = next(iter(waiting))
        raise StoreError(f"profile {key} changed {_ATTEMPTS} times while it was published; publish again when it is quieter")

    def _current(self, key: ProfileKey, state: bytes) -> bytes:
        words = self.tail.words(key)
        return fold.encode(fold.fold(fold.decode(state), words)) if words.size else state

    async def _erased_since(self, keys: Iterable[ProfileKey]) -> set[ProfileKey]:
        await carry_erasures(self.store, self.sunk)
        now = Erased((await asyncio.to_thread(self.sunk.read)).erased)
        return {key for key in keys if now.of(key) != self.erased.of(key)}


def _records(
    rows: Iterable[dict[str, Any]], settings: dict[ProfileKey, ProfileSettings]
) -> Iterator[tuple[ProfileKey, tuple[bytes, ProfileSettings]]]:
    silent = dict(settings)
    for row in rows:
        key = ProfileKey(row["user_id"], row["profile_id"])
        yield key, (row["state"], silent.pop(key, ProfileSettings()))
    nothing = fold.encode(ProfileState())
    for key, own in silent.items():
        yield key, (nothing, own)


def _chunks(records: Iterator[tuple[ProfileKey, tuple[bytes, ProfileSettings]]]) -> Iterator[Folded]:
    while chunk := dict(islice(records, _CHUNK)):
        yield chunk

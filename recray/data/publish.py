"""[Ray Data] States of every profile, folded from the lake's events, into the online store, while events go on arriving.

States are first kept as files (`Publications`), and then given to the store group by group. So publishing that was killed goes
on where it was, and the publication before can be given back.

A published state is the fold of the snapshot's events and of all that came since (`Tail`). It replaces what the store holds
only if nothing that folds arrived meanwhile, so an acknowledged event is in the state once: from the lake, from the log, or by
trying again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa

from recray.data.grouped import folded, settings_of
from recray.data.tail import Tail
from recray.errors import DataError, StoreError
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import ProfileKey, ProfileSettings
from recray.settings import Settings
from recray.stores.erased import Erased
from recray.stores.lake import Lake, Snapshot
from recray.stores.online import OnlineStore
from recray.stores.privacy import carry_erasures
from recray.stores.publications import Applied, Origin, Publication, Publications
from recray.stores.redis_keys import chunks
from recray.stores.sunk import SunkEvents

_CHUNK: Final = 1_000
_BATCH: Final = 5_000
_ATTEMPTS: Final = 50
Folded: TypeAlias = dict[ProfileKey, tuple[bytes, ProfileSettings]]


def publish(lake: Lake, name: str, store: OnlineStore, settings: Settings) -> int:
    """Fold the lake's events into a new publication and give it to the store; profiles without events get their settings.

    Settings that were put online stay. Profiles that are erased meanwhile are left alone. Returns how many profiles were
    written. A reader sees a profile as it was or as it is published, whole. Stopped while states are folded, nothing has
    happened; stopped later, `finish_publishing` goes on. Closes the store.

    Raises:
        DataError: the set has no events, the lake cannot be read, or another process is publishing the set.
        StoreError: the store did not answer, or a profile never stood still.
    """
    kept = Publications(lake.root, name)
    with kept.alone():
        snapshot = lake.snapshot(name)
        states = folded(snapshot, _numbers(lake, name), settings.training.n_blocks)
        batches = states.iter_batches(batch_size=_BATCH, batch_format="pyarrow")
        origin = Origin(snapshot.through, tuple(snapshot.sunk), snapshot.erased.until)
        made = kept.archive(origin, batches, lake.table(name, "profiles"), fold.encode(ProfileState()))
        return asyncio.run(_given(lake, name, store, made))


def finish_publishing(lake: Lake, name: str, store: OnlineStore) -> int:
    """Go on with a publication, or a rollback, that was stopped; returns how many profiles were written, 0 when none was.

    Raises:
        DataError: the files cannot be read, or another process is publishing the set.
        StoreError: as `publish`.
    """
    kept = Publications(lake.root, name)
    with kept.alone():
        applied = kept.applied()
        if applied.is_done:
            return 0
        return asyncio.run(_given(lake, name, store, kept.publication(applied.current)))


def roll_back(lake: Lake, name: str, store: OnlineStore) -> int:
    """Give the store the publication before the current one, with all that viewers did since that was folded.

    Profiles that only the current one has keep what they did since. Rolled back again, the store has the current one again.
    Returns how many profiles were written.

    Raises:
        DataError: there is none before, or the current one is not finished; or as `finish_publishing`.
        StoreError: as `publish`.
    """
    kept = Publications(lake.root, name)
    with kept.alone():
        applied = kept.applied()
        if not applied.is_done or not applied.before:
            fault = "has none before it" if applied.is_done else "is not finished"
            raise DataError(
                f"publication {applied.current} of {name} {fault}; expected one that followed another: publish first"
            )
        return asyncio.run(_given(lake, name, store, kept.publication(applied.before)))


async def _given(lake: Lake, name: str, store: OnlineStore, made: Publication) -> int:
    """Give a publication to the store, from where that was stopped."""
    kept, erased = Publications(lake.root, name), Erased(made.origin.erased)
    snapshot = Snapshot([], list(made.origin.sunk), made.origin.through, erased)
    publisher = Publisher(store, Tail(lake, name, snapshot, _numbers(lake, name), store), lake.sunk(name), erased)
    try:
        applied = _begun(kept.applied(), await store.log_id(), made.number)
        kept.note(applied)
        n_written = 0
        for rows in kept.groups(made, applied.n_groups):
            n_written += await publisher.publish(_records(rows))
            applied = msgspec.structs.replace(applied, n_groups=applied.n_groups + 1)
            kept.note(applied)
        nothing = (fold.encode(ProfileState()), ProfileSettings())
        gone = [(key, nothing) for key in kept.others(made) if erased.of(key) is None]
        n_written += await publisher.publish(gone)
        kept.note(msgspec.structs.replace(applied, is_done=True))
    finally:
        await store.close()
    return n_written


def _begun(applied: Applied, log_id: str, number: int) -> Applied:
    if applied.store == log_id and applied.current == number and not applied.is_done:
        return applied
    before = applied.current if applied.is_done else applied.before
    return Applied(log_id, number, before if before != number else 0, 0, is_done=False)


def _numbers(lake: Lake, name: str) -> dict[str, int]:
    return {content_id: number for number, content_id in enumerate(lake.table(name, "titles")["content_id"].to_pylist())}


@dataclass(frozen=True, slots=True)
class Publisher:
    """Where states go, what came after the snapshot that they were folded from, and whom the snapshot knew as erased."""

    store: OnlineStore
    tail: Tail
    sunk: SunkEvents
    erased: Erased

    async def publish(self, records: Sequence[tuple[ProfileKey, tuple[bytes, ProfileSettings]]]) -> int:
        """Write states in chunks; returns how many."""
        return sum([await self.write(dict(chunk)) for chunk in chunks(records, _CHUNK)])

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


def _records(rows: pa.Table) -> list[tuple[ProfileKey, tuple[bytes, ProfileSettings]]]:
    settings = settings_of(rows)
    keys = map(ProfileKey, rows["user_id"].to_pylist(), rows["profile_id"].to_pylist())
    return [(key, (state, settings[key])) for key, state in zip(keys, rows["state"].to_pylist(), strict=True)]

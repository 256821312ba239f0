"""Events that came after a snapshot of the lake: those that sinks carried over since, and those that are still in the log."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from recray.catalog.titles import words as packed
from recray.schema import ProfileKey, Words
from recray.stores import event_log
from recray.stores.lake import Lake, Snapshot
from recray.stores.log_group import Entry, log_name, order
from recray.stores.online import OnlineStore

_PER_READ = 5_000
_NONE: Words = np.empty(0, np.uint64)


class Tail:
    """What is not in a snapshot, as packed events by profile. State: how far each log was read, and all events since.

    It takes memory for every event that comes between the snapshot and the last `advance`.
    """

    def __init__(self, lake: Lake, name: str, snapshot: Snapshot, number_of: Mapping[str, int], store: OnlineStore) -> None:
        self._sunk = lake.sunk(name)
        self._number_of = number_of
        self._store = store
        self._seen = dict(snapshot.through)
        self._known = set(snapshot.sunk)
        self._words: dict[ProfileKey, list[int]] = {}

    def words(self, key: ProfileKey) -> Words:
        """A profile's packed events since the snapshot, ascending and without repeats."""
        return np.unique(np.array(self._words[key], np.uint64)) if key in self._words else _NONE

    async def advance(self) -> None:
        """Read on, to the end of every log as of a moment after this call began.

        Logs are trimmed only behind what the lake holds. So when the lake did not move while they were read, nothing was
        trimmed unseen. When it did, there may be a gap before what was read: that is forgotten, and what the lake gained is
        read from there.
        """
        log_id = await self._store.log_id()
        while True:
            sunk = await asyncio.to_thread(self._sunk.read)
            if any(order(position) > order(self._seen.get(log, "")) for log, position in sunk.through.items()):
                self._add_rows(await asyncio.to_thread(self._sunk.rows_after, sunk, self._seen, self._known))
                self._known = set(self._sunk.paths(sunk))
                self._seen |= {log: max(position, self._seen.get(log, ""), key=order) for log, position in sunk.through.items()}
            read = [await self._read_log(shard, log_name(log_id, shard)) for shard in range(await self._store.n_shards())]
            if (await asyncio.to_thread(self._sunk.read)).through == sunk.through:
                self._add_entries(log_id, read)
                return

    def _add_rows(self, rows: pa.Table) -> None:
        words, kept = packed(rows, self._number_of)
        owners = zip(rows["user_id"].to_pylist(), rows["profile_id"].to_pylist(), strict=True)
        known = [ProfileKey(*owner) for owner, keep in zip(owners, kept, strict=True) if keep]
        for key, word in zip(known, words.tolist(), strict=True):
            self._words.setdefault(key, []).append(word)

    async def _read_log(self, shard: int, log: str) -> list[Entry]:
        found = page = await self._store.entries(shard, self._seen.get(log, ""), _PER_READ)
        while page:
            page = await self._store.entries(shard, page[-1].position, _PER_READ)
            found = found + page
        return found

    def _add_entries(self, log_id: str, read: Sequence[Sequence[Entry]]) -> None:
        for shard, entries in enumerate(read):
            for arrival in filter(None, (event_log.readable(entry.blob) for entry in entries)):
                self._words.setdefault(arrival.key, []).append(arrival.word)
            if entries:
                self._seen[log_name(log_id, shard)] = entries[-1].position

"""A lake of its own for a home that is measured, and what became of acknowledged events: in the lake once, and in the states.

States are published anew from the copied lake, so that from then on each must be the fold of what the lake holds.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from recray.bench.faults import PATIENCE_S
from recray.bench.ledger import Ledger, logged
from recray.bench.prepared import Prepared
from recray.data.states import state_of, words_in
from recray.schema import ProfileKey
from recray.serving.sink import GROUP, Sink
from recray.stores.connect import open_store
from recray.stores.event_log import settle_profile
from recray.stores.lake import Lake
from recray.stores.log_group import log_name
from recray.stores.online import OnlineStore

_CHUNK: Final = 1_000
_CARRIED_S: Final = 120.0
_LOOK_S: Final = 0.5
_NAMED: Final = 20
_NONE: Final = np.empty(0, np.uint64)


async def with_own_lake(prepared: Prepared) -> Prepared:
    """The same with a copy of the data set that its sink may write to, and every profile published anew from that copy."""
    home, source, data = prepared.folder / "home", Lake(prepared.settings.lake_dir), prepared.data
    manifest = source.manifest(data)
    settings = prepared.settings.model_copy(update={"home": home})
    lake = Lake(settings.lake_dir)
    await asyncio.to_thread(lake.write, data, {table: source.table(data, table) for table in manifest["tables"]}, manifest)
    settings.registry_dir.symlink_to(prepared.settings.registry_dir.resolve(), target_is_directory=True)
    words = await asyncio.to_thread(words_in, lake, data)
    store = open_store(settings.store, settings.store.url)
    try:
        for start in range(0, len(prepared.keys), _CHUNK):
            keys = prepared.keys[start : start + _CHUNK]
            records = zip(keys, await store.read(keys), strict=True)
            await store.load([(key, state_of(words.get(key, _NONE)), record.settings) for key, record in records])
    finally:
        await store.close()
    return replace(prepared, settings=settings, sink_served=True)


async def reckoned(prepared: Prepared, ledger: Ledger) -> dict[str, Any]:
    """What became of the events of a ledger, when the application has ended.

    `acknowledged`, `lost` (in neither the lake nor the log), `duplicated`; `profiles` that events came for, of them
    `parity_mismatches`, whose state in the store is not the fold of the lake's events byte by byte, and the first of those;
    `left_in_log`: entries that no sink could carry over.
    """
    settings = prepared.settings.store.model_copy(update={"timeout_s": PATIENCE_S})
    lake, store = Lake(prepared.settings.lake_dir), open_store(settings, settings.url)
    try:
        left = await _carried(prepared, store, lake)
        sunk = lake.sunk(prepared.data)
        held = sunk.read()
        rows = sunk.rows_after(held, {}, ())
        columns = [rows[name].to_pylist() for name in ("user_id", "profile_id", "content_id", "action")]
        log_id = await store.log_id()
        behind = {shard: held.through.get(log_name(log_id, shard), "") for shard in range(settings.n_shards)}
        ids, facts = await logged(store, settings.n_shards, behind)
        kept = ledger.found(ids + Counter(rows["event_id"].to_pylist()), facts | set(zip(*columns, strict=True)))
        touched = {ProfileKey(*owner) for owner in zip(*columns[:2], strict=True)}
        wrong = await _unlike(store, touched, await asyncio.to_thread(words_in, lake, prepared.data))
    finally:
        await store.close()
    parity = {"profiles": len(touched), "parity_mismatches": len(wrong), "mismatched": wrong[:_NAMED]}
    return {**kept, **parity, "left_in_log": left, "in_lake": rows.num_rows, "set_aside": held.n_quarantined}


async def _carried(prepared: Prepared, store: OnlineStore, lake: Lake) -> int:
    """Carry over what the application's sink left; how many entries could not be."""
    member, until_s = uuid.uuid4().hex, time.monotonic() + _CARRIED_S
    sink = Sink(store, lake, prepared.data, prepared.settings, member=member, now_s=lambda: time.time_ns() / 1e9)
    while (left := (await store.lag(GROUP)).n_entries) and time.monotonic() < until_s:
        await sink.drain()
        await asyncio.sleep(_LOOK_S)
    return left


async def _unlike(store: OnlineStore, keys: Iterable[ProfileKey], words: dict[ProfileKey, Any]) -> list[str]:
    """Profiles whose state in the store is not the fold of those packed events."""
    wrong = []
    for key in sorted(keys, key=str):
        await settle_profile(store, key)
        (record,) = await store.read([key])
        if record.inbox or record.state != state_of(words.get(key, _NONE)):
            wrong.append(str(key))
    return wrong

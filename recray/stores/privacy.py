"""All that is held about a profile, in the online store and in the lake: told, and erased."""

import asyncio
from typing import Any

from recray.schema import EVENTS, ProfileKey
from recray.stores.lake import Lake
from recray.stores.log_group import log_name
from recray.stores.online import OnlineStore
from recray.stores.sunk import SunkEvents


async def carry_erasures(store: OnlineStore, sunk: SunkEvents) -> int:
    """Let the readers of a set know who was erased; returns how many profiles that were.

    Killed at any point, the store still tells it, and telling the lake again changes nothing.
    """
    held = await store.erasures()
    if held:
        log_id = await store.log_id()
        known = {mark: (log_name(log_id, shard), position) for mark, (shard, position) in held.items()}
        await asyncio.to_thread(sunk.erase, known)
        await store.forget_erasures(held)
    return len(held)


async def export_profile(store: OnlineStore, lake: Lake, data: str, key: ProfileKey) -> dict[str, Any]:
    """What `OnlineStore.export` tells, and under `lake` the profile's events in a set; none where there is no such set.

    An event that is on its way from the log to the lake may be told in both.
    """
    told = await store.export(key)
    rows = await asyncio.to_thread(lake.events_of, data, key) if data in lake.names() else EVENTS.empty_table()
    return told | {"lake": [_plain(row) for row in rows.to_pylist()]}


async def erase_profile(store: OnlineStore, lake: Lake, data: str, key: ProfileKey) -> dict[str, int]:
    """Erase a profile from the store, from its durable log, and from what readers of a set see.

    Returns what `OnlineStore.erase` does, and under `lake_events` how many events of the set are hidden now. Where the set is
    not at hand, the store keeps telling of the erasure until a sink carries it there.
    """
    n_hidden = (await asyncio.to_thread(lake.events_of, data, key)).num_rows if data in lake.names() else 0
    erased = await store.erase(key)
    await store.scrub()
    if data in lake.names():
        await carry_erasures(store, lake.sunk(data))
    return erased | {"lake_events": n_hidden}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON values, its time spelt as ISO 8601; absent values are left out."""
    present = {name: value for name, value in row.items() if value is not None}
    return present | {"event_at": row["event_at"].isoformat()}

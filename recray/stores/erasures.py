"""How an erasure in the online store reaches the lake."""

import asyncio

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

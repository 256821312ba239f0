"""Growing a store in a process of its own, to be killed; importable by the process that forks it."""

import asyncio

from recray.settings import StoreSettings
from recray.stores.redis import RedisStore


def grow(url: str, n_shards: int) -> None:
    """Grow a store until it is done or killed."""
    asyncio.run(_grow(url, n_shards))


async def _grow(url: str, n_shards: int) -> None:
    store = RedisStore(url, StoreSettings(timeout_s=5.0))
    await store.grow(n_shards, lambda _: None)
    await store.close()

"""A sink in a process of its own, to be killed; importable by the process that forks it."""

import asyncio
import time
import uuid

from recray.serving.sink import Sink
from recray.settings import Settings
from recray.stores.connect import open_store
from recray.stores.lake import Lake


def carry(given: str, name: str, *, until_empty: bool) -> None:
    """Run a sink until it is killed, or until nothing is left."""
    asyncio.run(_carry(Settings.model_validate_json(given), name, until_empty))


async def _carry(settings: Settings, name: str, until_empty: bool) -> None:
    store = open_store(settings.store, settings.store.url)
    sink = Sink(store, Lake(settings.lake_dir), name, settings, member=uuid.uuid4().hex, now_s=lambda: time.time_ns() / 1e9)
    await (sink.drain() if until_empty else sink.run(asyncio.Event()))
    await store.close()

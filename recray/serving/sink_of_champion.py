"""Which data set the sink of a served application writes to: that of the bundle in charge, whichever that becomes."""

import asyncio
import uuid
from collections.abc import Callable

from recray.serving.sink import Sink
from recray.settings import Settings
from recray.stores.lake import Lake
from recray.stores.online import OnlineStore
from recray.stores.registry import Registry


async def sink_for_champion(settings: Settings, store: OnlineStore, stop: asyncio.Event, now_s: Callable[[], float]) -> None:
    """Carry events into the champion's data set until asked to stop; waits while there is no champion or no such set."""
    lake, registry = Lake(settings.lake_dir), Registry(settings.registry_dir)
    poll_s = settings.serving.alias_poll_s
    while not stop.is_set():
        data = champions_data(registry)
        if data not in lake.names():
            await _slept(stop, poll_s)
            continue
        over = asyncio.Event()
        sink = Sink(store, lake, data, settings, member=uuid.uuid4().hex, now_s=now_s)
        running = asyncio.create_task(sink.run(over))
        while not running.done() and champions_data(registry) == data and not await _slept(stop, poll_s):
            pass
        over.set()
        await running


def champions_data(registry: Registry) -> str:
    """The data set that the champion was trained on; empty without a champion."""
    champion = registry.alias("champion")
    return registry.manifest(champion).get("data", {}).get("name", "") if champion else ""


async def _slept(stop: asyncio.Event, seconds: float) -> bool:
    """Whether the sleep was cut short by the wish to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True

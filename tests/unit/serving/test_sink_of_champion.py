"""Which set events go to: none without a champion, then the champion's, then the next champion's."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from recray.features import fold
from recray.schema import TITLES, Action, Event
from recray.serving.sink import GROUP
from recray.serving.sink_of_champion import champions_data, sink_for_champion
from recray.settings import resolve
from recray.stores.lake import Lake
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival
from recray.stores.registry import Registry

T0 = 1_700_000_000
NOW = datetime.fromtimestamp(T0, UTC)
TITLE = pa.Table.from_pylist([{"content_id": "a", "name": "A", "kind": "movie", "genres": []}], schema=TITLES)


def arrival(event_id: str) -> Arrival:
    at_s = T0 + len(event_id)
    word = int(fold.pack(np.array([at_s]), np.array([0]), np.array([Action.PLAY]), np.array([0]), np.array([0]))[0])
    return Arrival(Event(event_id, "u", "p", "a", Action.PLAY, at_s), word, at_s)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if holds():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came to hold")


async def test_events_go_to_the_champions_set_whichever_that_becomes(tmp_path: Path) -> None:
    settings = resolve({
        "home": str(tmp_path), "store": {"n_shards": 1}, "serving": {"alias_poll_s": 0.01},
        "sink": {"poll_s": 0.002, "max_age_s": 0.001, "claim_idle_s": 0.01},
    })  # fmt: skip
    lake, registry = Lake(settings.lake_dir), Registry(settings.registry_dir)
    for name in ("one", "two"):
        lake.write(name, {"titles": TITLE}, {})
    store = MemoryStore(settings.store, lambda: 0.0)
    stop = asyncio.Event()
    running = asyncio.create_task(sink_for_champion(settings, store, stop, asyncio.get_running_loop().time))
    await store.append([arrival("e")])
    await asyncio.sleep(0.03)
    assert champions_data(registry) == ""
    assert lake.sunk("one").read().n_rows == 0

    def crown(name: str) -> None:
        registry.point(
            "champion", registry.write({"x": name.encode()}, {"created_at": NOW.isoformat(), "data": {"name": name}}), NOW
        )

    crown("one")
    await until(lambda: lake.sunk("one").read().n_rows == 1)
    crown("two")
    await until(lambda: b'"two"' in store._notes[GROUP])
    await store.append([arrival("ee")])
    await until(lambda: lake.sunk("two").read().n_rows == 1)
    await store.append([arrival("eee")])
    stop.set()
    await running
    assert [lake.events(name)["event_id"].to_pylist() for name in ("one", "two")] == [["e"], ["ee", "eee"]]

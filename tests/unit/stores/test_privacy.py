"""Export and erasure over store and lake together."""

import json
from pathlib import Path

import numpy as np
import pytest

from recray.features import fold
from recray.schema import Action, Event, ProfileKey
from recray.settings import StoreSettings
from recray.stores.lake import Lake
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival
from recray.stores.privacy import carry_erasures, erase_profile, export_profile

from .lake_tables import T0, events, titles

U = ProfileKey("u", "p")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.write("tiny", {"titles": titles("a"), "events": events(T0, T0 + 1)}, {})
    return lake


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore(StoreSettings(n_shards=2), lambda: 0.0)
    word = int(fold.pack(np.array([T0]), np.array([0]), np.array([Action.PLAY]), np.array([0]), np.array([0]))[0])
    await store.append([Arrival(Event("live", "u", "p", "a", Action.PLAY, T0), word, T0)])
    return store


async def test_export_tells_log_and_lake_as_json(lake: Lake, store: MemoryStore) -> None:
    told = json.loads(json.dumps(await export_profile(store, lake, "tiny", U)))
    assert [event["event_id"] for event in told["events"]] == ["live"]
    assert [(event["event_id"], event["event_at"]) for event in told["lake"]] == [
        ("e000", "2023-11-14T22:13:20+00:00"),
        ("e001", "2023-11-14T22:13:21+00:00"),
    ]
    assert (await export_profile(store, lake, "", U))["lake"] == []
    assert (await export_profile(store, lake, "tiny", ProfileKey("v", "p")))["lake"] == []


async def test_erasure_reaches_both_and_a_later_import_does_not_bring_it_back(lake: Lake, store: MemoryStore) -> None:
    erased = await erase_profile(store, lake, "tiny", U)
    assert (erased["events"], erased["lake_events"]) == (1, 2)
    assert await store.erasures() == {}
    assert lake.events("tiny").num_rows == 0
    lake.write("tiny", {"titles": titles("a"), "events": events(T0)}, {})
    assert lake.events("tiny").num_rows == 0
    assert (await export_profile(store, lake, "tiny", U))["lake"] == []


async def test_erasure_waits_in_the_store_where_the_lake_is_not_at_hand(lake: Lake, store: MemoryStore) -> None:
    erased = await erase_profile(store, lake, "elsewhere", U)
    assert erased["lake_events"] == 0
    assert lake.events("tiny").num_rows == 2
    assert await carry_erasures(store, lake.sunk("tiny")) == 1
    assert lake.events("tiny").num_rows == 0
    assert await carry_erasures(store, lake.sunk("tiny")) == 0

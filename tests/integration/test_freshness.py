"""Feedback under load and through the deaths of the store, a gateway and the sink: seen, kept once, and what states say."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_world import made, publish
from recray.bench.faults import serving
from recray.bench.freshness import FAULTS, Plan, measure
from recray.bench.kept import reckoned, with_own_lake
from recray.bench.ledger import Ledger
from recray.bench.prepared import Prepared, prepared
from recray.data.states import state_of
from recray.schema import ProfileSettings
from recray.settings import Settings, merge
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore
from recray.stores.lake import Lake
from recray.stores.sunk import QUARANTINE, Batch

PLAN = Plan(seconds=3.0, events=30.0, sampled=0.5, pages=15.0, most_s=90.0, seed=1)
PATIENT = {
    "serving": {
        "budgets": {"features_ms": 1_000, "candidates_ms": 1_000, "rank_ms": 1_000},
        "most_delay_ms": 60_000,
        "breaker_rest_s": 0.5,
    },
    "store": {"timeout_s": 1.0},
    "sink": {"max_age_s": 0.5, "claim_idle_s": 3.0},
}


async def tampered(ready: Prepared, ledger: Ledger) -> dict[str, Any]:
    """What is reckoned when an event never came, one lies twice in the lake, and a state is not its own."""
    key = ready.keys[0]
    ledger.accepted["never-came"] = (key.user_id, key.profile_id, "t1", "play")
    sunk = Lake(ready.settings.lake_dir).sunk(ready.data)
    again = sunk.rows_after(sunk.read(), {}, ()).slice(0, 1)
    log = again["log"][0].as_py()
    through = {log: sunk.read().through[log]}
    assert sunk.commit(Batch(again, QUARANTINE.empty_table(), through, through))
    store = open_store(ready.settings.store, ready.settings.store.url)
    await store.load([(key, state_of(np.empty(0, np.uint64)), ProfileSettings())])
    await store.close()
    return await reckoned(ready, ledger)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of a run of some seconds, and the events that the home's own lake holds before and after."""
    world, folder = made(tmp_path_factory, "freshness"), tmp_path_factory.mktemp("freshness-run")
    settings = Settings.model_validate(merge(world.settings.model_dump(), PATIENT))
    before = Lake(settings.lake_dir).events("world").num_rows
    with EmbeddedStore.start(settings.home) as store:
        asyncio.run(publish(world, store.url))
        with prepared(settings, store.url, "world", Path(folder)) as given:
            ready = replace(asyncio.run(with_own_lake(given)), response_cache=True)
            with serving("fused", ready) as ours:
                figures, ledger = asyncio.run(measure(ours, PLAN, print))
            figures |= asyncio.run(reckoned(ready, ledger))
            figures["tampered"] = asyncio.run(tampered(ready, ledger))
    return figures | {"home_events": (before, Lake(settings.lake_dir).events("world").num_rows)}


def test_sampled_events_are_in_the_next_answers_and_stay_there(found: dict[str, Any]) -> None:
    events, span = found["events"], found["event_to_recommendation_ms"]
    assert events["sampled"] > 10
    assert (events["unseen"], events["shown_again"]) == (0, 0)
    assert 0 < span["p50"] <= span["p99"]


def test_nothing_fails_while_parts_die(found: dict[str, Any]) -> None:
    assert [name.partition(": ")[2] for name in found["faults"]] == [fault.name for fault in FAULTS]
    for one in (found["events"], found["recommendations"], *found["faults"].values()):
        assert (one["failed"], one["requests"] > 10) == (0, True)
    assert found["faults"]["1: store-killed"]["recovery_s"] > 0
    assert found["faults"]["3: sink-killed"]["replaced"]


def test_every_acknowledged_event_is_in_the_lake_once_and_in_the_states_bit_for_bit(found: dict[str, Any]) -> None:
    assert found["intake"]["events_per_s"] > 0
    assert found["acknowledged"] > 100
    assert found["profiles"] > 10
    assert (found["lost"], found["duplicated"], found["parity_mismatches"], found["left_in_log"]) == (0, 0, 0, 0)


def test_what_is_lost_or_twice_or_differs_would_be_seen(found: dict[str, Any]) -> None:
    seen = found["tampered"]
    assert (seen["lost"], seen["duplicated"], seen["parity_mismatches"]) == (1, 1, 1)


def test_nothing_of_the_home_is_written(found: dict[str, Any]) -> None:
    before, after = found["home_events"]
    assert before == after

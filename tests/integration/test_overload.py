"""Past capacity, and up and down a step of load: what is let in is answered, the rest is told when to come, nothing fails."""

import asyncio
from collections.abc import Iterator

import pytest

from bundle_world import made, publish
from recray.bench.elastic import Step, elastic, step
from recray.bench.faults import serving, whole
from recray.bench.overload import overload
from recray.bench.prepared import Prepared, prepared
from recray.settings import Settings, merge
from recray.stores.embedded import EmbeddedStore

# One request at a time, so that the peak is soon reached and a busy client can still ask for twice as much.
SERVING = {"budgets": {"features_ms": 2_000, "candidates_ms": 2_000, "rank_ms": 2_000}, "most_delay_ms": 150, "max_batch": 1}
ONE = {"min_replicas": 1, "max_replicas": 1}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A champion, and a store of its own with every profile."""
    world, folder = made(tmp_path_factory, "overload"), tmp_path_factory.mktemp("overload-run")
    given = merge(world.settings.model_dump(), {"serving": SERVING, "store": {"timeout_s": 2.0}})
    with EmbeddedStore.start(world.settings.home) as store:
        asyncio.run(publish(world, store.url))
        with prepared(Settings.model_validate(given), store.url, "world", folder) as found:
            yield found


def test_past_capacity_what_is_let_in_is_answered_and_the_rest_refused_at_once(ready: Prepared) -> None:
    with serving("fused", ready, ONE) as ours:
        asyncio.run(whole(ours))
        found = asyncio.run(overload(ours.target, ready.paths("homepage"), (ready.keys, ready.content_id), 6.0, seed=1))
    assert found["failed"] == 0
    # A busy machine gives one half of the run less than the other, and to refuse costs a part of answering so small a page.
    assert found["goodput/peak"] > 0.4, found
    assert found["refused"] > 0
    assert found["refused_p50_ms"] < found["p50_ms"]
    assert found["feedback_accepted"] == found["feedback_sent"] > 0


def test_replicas_come_and_go_with_the_load_and_no_request_fails(ready: Prepared) -> None:
    with elastic("fused", ready) as ours:
        found = asyncio.run(step(ours, Step(few=1.0, many=40.0, most_s=90.0, seed=1), print))
    assert found["failed"] == 0, found
    assert found["came_after_s"] is not None
    assert found["went_after_s"] is not None
    assert found["many"]["requests"] > 100

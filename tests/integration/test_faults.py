"""Parts of the served application are killed and frozen under load: nothing fails, the right stage says so, nothing is lost."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bundle_world import made, publish
from recray.bench.faults import Plan, faults_of, measure, serving
from recray.bench.prepared import Prepared, prepared
from recray.settings import Settings, merge
from recray.stores.embedded import EmbeddedStore

PLAN = Plan(rate=25.0, before_s=1.0, most_s=90.0, after_s=1.0, seed=1)
FUSED = ("gateway-killed", "gateway-frozen", "store-killed", "store-frozen", "controller-killed")
COMPOSED = ("features-frozen", "candidates-killed", "ranker-killed", "ranker-frozen")
DEGRADED = {
    "store-killed": "features",
    "store-frozen": "features",
    "features-frozen": "features",
    "candidates-killed": "candidates",
    "ranker-killed": "rank",
    "ranker-frozen": "rank",
}
REFUSED = {"store-killed", "store-frozen"}
"""Feedback that cannot be made durable is refused with Retry-After."""
# Wide enough for a busy machine, and nobody is turned away for being many: what is seen here is the fault's doing alone.
SERVING = {
    "budgets": {"features_ms": 1_000, "candidates_ms": 1_000, "rank_ms": 1_000},
    "most_delay_ms": 60_000,
    "breaker_rest_s": 0.5,
}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A champion, and a store of its own with every profile, that may be killed."""
    world, folder = made(tmp_path_factory, "faults"), tmp_path_factory.mktemp("faults-run")
    given = merge(world.settings.model_dump(), {"serving": SERVING, "store": {"timeout_s": 1.0}})
    with EmbeddedStore.start(world.settings.home) as store:
        asyncio.run(publish(world, store.url))
        with prepared(Settings.model_validate(given), store.url, "world", folder) as found:
            yield found


@pytest.fixture(scope="module")
def met(ready: Prepared) -> dict[str, dict[str, Any]]:
    """What viewers met, by fault."""
    found: dict[str, dict[str, Any]] = {}
    for topology, names in (("fused", FUSED), ("composed", COMPOSED)):
        with serving(topology, ready) as ours:
            found |= asyncio.run(measure(ours, faults_of(topology, names), PLAN, print))
    return found


@pytest.mark.parametrize("name", [*FUSED, *COMPOSED])
def test_no_request_fails_and_answers_are_whole_again(met: dict[str, dict[str, Any]], name: str) -> None:
    one = met[name]
    assert one["requests"] > 20
    assert one["failed"] == 0, one["statuses"]
    assert one["recovery_s"] is not None


@pytest.mark.parametrize(("name", "stage"), DEGRADED.items())
def test_answers_name_the_stage_that_is_missing(met: dict[str, dict[str, Any]], name: str, stage: str) -> None:
    assert met[name]["degraded_stages"].get(stage, 0) > 0
    assert met[name]["recovery_s"] > 0


@pytest.mark.parametrize("name", [*FUSED, *COMPOSED])
def test_feedback_alone_is_refused_and_only_while_it_cannot_be_kept(met: dict[str, dict[str, Any]], name: str) -> None:
    one = met[name]
    assert one["refused"] == one["refused_feedback"]
    assert (one["refused"] > 0) == (name in REFUSED)


@pytest.mark.parametrize("name", [*FUSED, *COMPOSED])
def test_no_acknowledged_event_is_lost_or_kept_twice(met: dict[str, dict[str, Any]], name: str) -> None:
    assert met[name]["acknowledged"] > 20
    assert (met[name]["lost"], met[name]["duplicated"]) == (0, 0)

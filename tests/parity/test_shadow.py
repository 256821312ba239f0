"""A challenger that answers behind the champion: from the same state, on the same questions, and nowhere in their way."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import swapped_bundles
from bundle_world import NOW_S, BundleWorld
from recray.bundle import Bundle
from recray.recommend import guards_of
from recray.serving.asking import Asked
from recray.serving.counters import Counters
from recray.serving.service import Service
from recray.serving.shadow import Shadow
from recray.serving.shelf import BundleShelf
from recray.serving.stages import StoredProfiles
from recray.stores.event_log import decode_slate
from recray.stores.registry import Registry


@dataclass
class Shadowed:
    """An application in this process with its shadow, and what it counts."""

    app: Service
    shadow: Shadow

    def counted(self, series: str, **labels: str) -> float:
        return self.app.counters.registry.get_sample_value(series, labels) or 0.0


async def shadowed(world: BundleWorld, challenger: str | None, share: float = 1.0) -> Shadowed:
    registry = Registry(world.settings.registry_dir)
    registry.point("challenger", challenger or world.bundle.id, datetime.fromtimestamp(NOW_S, UTC))
    shelf = BundleShelf(registry)
    shelf.refresh()
    store = await world.store()
    parts = world.parts_on(shelf, StoredProfiles(store))
    counters = Counters()
    shadow = Shadow(parts, guards_of(world.settings.serving, lambda: 0.0), shelf, share, counters)
    return Shadowed(world.service(parts, store, counters=counters, shadow=shadow), shadow)


async def ask(app: Service, world: BundleWorld, n: int = 6) -> None:
    for key in list(world.states)[:n]:
        await app.ask(Asked("homepage", key.user_id, key.profile_id, n_items=8, n_rows=4))
        await app.drain()


@pytest.fixture(scope="module")
def challenger(world: BundleWorld) -> str:
    return swapped_bundles.other(Registry(world.settings.registry_dir), world.bundle.id)


@pytest.fixture(scope="module")
def twin(world: BundleWorld) -> str:
    return swapped_bundles.twin(Registry(world.settings.registry_dir), world.bundle.id)


async def test_a_twin_of_the_champion_shows_the_very_same_titles(world: BundleWorld, twin: str) -> None:
    found = await shadowed(world, twin)
    await ask(found.app, world)
    assert found.counted("recray_shadow_total", challenger=twin, outcome="answered") == 6
    assert (
        found.counted("recray_shadow_overlap_sum", challenger=twin)
        == found.counted("recray_shadow_overlap_count", challenger=twin)
        == 6
    )
    for bundle in ("champion", "challenger"):
        assert found.counted("recray_shadow_ms_count", challenger=twin, bundle=bundle) == 6


async def test_a_challenger_that_answers_otherwise_overlaps_in_part(world: BundleWorld, challenger: str) -> None:
    found = await shadowed(world, challenger)
    await ask(found.app, world)
    assert 0 < found.counted("recray_shadow_overlap_sum", challenger=challenger) < 6


async def test_a_challenger_orders_lists_as_its_own_training_chose(world: BundleWorld, twin: str) -> None:
    found = await shadowed(world, twin)
    found.shadow.shelf._loaded[world.bundle.id] = world.unpaid()
    await ask(found.app, world)
    assert found.counted("recray_shadow_total", challenger=twin, outcome="answered") == 6
    assert found.counted("recray_shadow_overlap_sum", challenger=twin) < 6


async def test_what_was_shadowed_is_not_logged_as_served(world: BundleWorld, challenger: str) -> None:
    found = await shadowed(world, challenger)
    await ask(found.app, world, 3)
    logged = [blob for shard in range(world.settings.store.n_shards) for _, blob in await found.app.store.slates(shard, "", 99)]
    assert [decode_slate(blob).bundle_id for blob in logged] == [world.bundle.id] * 3


async def test_nothing_is_shadowed_without_a_challenger_that_differs_from_the_champion(world: BundleWorld) -> None:
    found = await shadowed(world, None)
    await ask(found.app, world, 3)
    assert found.counted("recray_shadow_ms_count", challenger=world.bundle.id, bundle="challenger") == 0


async def test_a_share_of_the_requests_is_shadowed(world: BundleWorld, challenger: str) -> None:
    found = await shadowed(world, challenger, share=0.5)
    await ask(found.app, world, 30)
    assert 5 <= found.counted("recray_shadow_total", challenger=challenger, outcome="answered") <= 25


async def test_nothing_is_shadowed_while_a_request_waits(world: BundleWorld, challenger: str) -> None:
    found = await shadowed(world, challenger)
    found.shadow.n_inside = lambda: 1
    await ask(found.app, world, 3)
    assert found.counted("recray_shadow_total", challenger=challenger, outcome="left_out") == 3
    assert found.counted("recray_shadow_total", challenger=challenger, outcome="answered") == 0


async def test_a_challenger_that_fails_is_counted_and_neither_answers_nor_breakers_notice(
    world: BundleWorld, challenger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await shadowed(world, challenger)
    bundle: Bundle | None = found.app.shelf.challenger()
    assert bundle is not None

    class Broken:
        def predict(self, batch: Any) -> Any:
            raise RuntimeError("no ranker")

    monkeypatch.setattr(bundle, "rankers", {"deep": Broken(), "boosted": Broken()})
    await ask(found.app, world, 10)
    assert found.counted("recray_shadow_total", challenger=challenger, outcome="degraded") == 10
    assert found.counted("recray_requests_total", page="homepage", status="ok") == 10

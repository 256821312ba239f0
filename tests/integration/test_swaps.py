"""Bundles change hands under load: nothing fails, nothing degrades, and every answer is of one bundle throughout."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
from ray import serve

import swapped_bundles
from bundle_world import BundleWorld, made, publish
from recray.experiments.assign import Assignment
from recray.features import fold
from recray.features.profiles import columns
from recray.pages.answer import Answer
from recray.recommend import recommend
from recray.serving.asking import Asked, one
from recray.serving.compose import APPLICATION, launch
from recray.serving.environment import free_ports
from recray.serving.live import AsServed, LiveSources
from recray.serving.shadow import Known
from recray.serving.shelf import BundleShelf
from recray.serving.stages import LocalCandidates
from recray.settings import LiveSettings, Settings, TrafficSettings
from recray.simulation.audience import Viewer
from recray.simulation.http_client import Target
from recray.simulation.load import Plan, drive
from recray.simulation.rate import parse
from recray.simulation.traffic import Fate, Traffic
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import SlateServed, decode_slate
from recray.stores.registry import Registry

PATIENCE_S = 120.0
AT_LEAST_S = 10.0
STEADY = "15:600s"
IN_A_ROW = 25
"""Answers of two replicas that must agree before a swap counts as done."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return made(tmp_path_factory, "swaps")


@pytest.fixture
def store(world: BundleWorld, local_serve: None) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.start(world.settings.home) as started:
        asyncio.run(publish(world, started.url))
        yield started


@pytest.fixture(scope="module")
def port() -> int:
    return next(free_ports())


def settings_for(world: BundleWorld, topology: str, store_url: str, port: int) -> Settings:
    serving = world.settings.serving
    changed = {
        "topology": topology,
        "port": port,
        "response_cache": False,
        "most_delay_ms": 60_000,
        "alias_poll_s": 0.5,
        "shadow_share": 1.0,
        "gateway": serving.gateway.model_copy(update={"min_replicas": 2, "max_replicas": 2}),
    }
    store = world.settings.store.model_copy(update={"url": store_url, "timeout_s": 30.0})
    experiments = world.settings.home / "experiments.yaml"
    experiments.write_text("[]\n")
    # Every version of the live counts is kept, so that every answer can be made again.
    live = LiveSettings(kept_versions=100_000)
    differences = {"serving": serving.model_copy(update=changed), "store": store, "live": live}
    return world.settings.model_copy(update={**differences, "experiments_file": experiments})


@dataclass
class Running:
    """An application, asked now and then beside its load; the bodies of those answers are kept."""

    http: httpx.AsyncClient
    registry: Registry
    world: BundleWorld
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def ask(self) -> str:
        """The bundle that answers now."""
        key = list(self.world.states)[len(self.asked) % 20]
        reply = await self.http.get(
            "/api/v1/recommendations/homepage", params={"user_id": key.user_id, "profile_id": key.profile_id, "num_rows": 4}
        )
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert body["degraded"] == []
        self.asked[body["recommendation_id"]] = body
        return str(body["algorithm_version"].partition("/")[0])

    async def answered_by(self, bundle_id: str) -> None:
        """Wait until every replica answers by a bundle."""

        async def all_do() -> bool:
            return all([await self.ask() == bundle_id for _ in range(IN_A_ROW)])

        await until(all_do)

    async def operator(self, path: str, **parameters: str) -> httpx.Response:
        return await self.http.post(f"/api/v1/bundles/{path}", params=parameters)

    async def refused_everywhere(self, bundle_id: str) -> None:
        async def all_do() -> bool:
            seen = [(await self.http.get("/readyz")).json()["refused"] for _ in range(IN_A_ROW)]
            return all(bundle_id in refused for refused in seen)

        await until(all_do)

    async def counted(self, series: str) -> float:
        """The sum of a series of one replica, whichever answers."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    def point(self, alias: str, bundle_id: str) -> None:
        """What another process does."""
        self.registry.point(alias, bundle_id, datetime.now(UTC))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


@pytest.fixture(params=["fused", "composed"])
async def running(
    request: pytest.FixtureRequest, world: BundleWorld, store: EmbeddedStore, port: int
) -> AsyncIterator[tuple[Running, Settings]]:
    settings = settings_for(world, request.param, store.url, port)
    registry = Registry(settings.registry_dir)
    for alias in ("champion", "challenger"):
        registry.point(alias, world.bundle.id, datetime.now(UTC))
    url = await asyncio.to_thread(launch, settings)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def answers() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await until(answers)
        yield Running(http, registry, world), settings
    await asyncio.to_thread(serve.delete, APPLICATION)


async def test_bundles_change_hands_under_load_without_a_failed_a_degraded_or_a_mixed_answer(
    running: tuple[Running, Settings],
) -> None:
    app, settings = running
    stop = asyncio.Event()
    viewers = [Viewer(key, None) for key in app.world.states]
    plan = Plan(viewers, parse(STEADY, None), 1, uuid.uuid4().hex, TrafficSettings(think_s=0.2))
    load = asyncio.ensure_future(drive(Target.at(str(app.http.base_url)), plan, stop=stop))
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        bundles = await _swaps(app)
        await asyncio.sleep(max(0.0, began_s + AT_LEAST_S - loop.time()))  # few would have met swaps that are quick
    finally:
        stop.set()
        traffic = await load
    _counted(traffic)
    slates = await _served(settings)
    assert len(slates) > 200
    assert {slate.bundle_id for slate in slates.values()} == bundles
    shelf = app.world.shelf()
    for bundle_id in bundles:
        shelf.load(bundle_id)
    counting = open_store(settings.store, settings.store.url)
    then = LocalCandidates(shelf, settings.sources, LiveSources(shelf, counting, settings.live, time.time))
    mixed = [slate.recommendation_id for slate in slates.values() if not await _of_one_bundle(slate, shelf, app, then)]
    await counting.close()
    assert not mixed, f"{len(mixed)} of {len(slates)}"


async def _swaps(app: Running) -> set[str]:
    first, registry = app.world.bundle.id, app.registry
    await app.answered_by(first)

    second = swapped_bundles.other(registry, first)
    app.point("challenger", second)

    async def shadowed() -> bool:
        await app.ask()
        return await app.counted(f'recray_shadow_total{{challenger="{second}",outcome="answered"}}') >= 3

    await until(shadowed)
    assert await app.ask() == first

    promoted = await app.operator(f"{second}/promote")
    assert (promoted.status_code, promoted.json()["champion"]) == (200, second), promoted.text
    await app.answered_by(second)

    for _ in range(3):  # the same wish three times, as when a proxy hands it on
        back = await app.operator("rollback", leaving=second)
        assert (back.status_code, back.json()["champion"]) == (200, first), back.text
    await app.answered_by(first)

    app.point("champion", second)
    await app.answered_by(second)

    for broken in (
        swapped_bundles.truncated(registry, first, app.world.settings.registry_dir),
        swapped_bundles.of_other_views(registry, first),
        swapped_bundles.with_a_mad_ranker(registry, first),
    ):
        refused = await app.operator(f"{broken}/promote")
        assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json"), refused.text
        assert broken in refused.json()["detail"]
        assert registry.alias("champion") == second
    app.point("champion", broken)  # nobody asks the application
    await app.refused_everywhere(broken)
    assert await app.counted("recray_bundles_refused") >= 1
    await app.answered_by(second)
    app.point("champion", first)
    await app.answered_by(first)
    return {first, second}


def _counted(traffic: Traffic) -> None:
    facts = traffic.facts()
    assert traffic.n_failed == 0, facts["statuses"]
    assert traffic.fate.count(Fate.DEGRADED) == 0, traffic.degraded_stages
    assert traffic.fate.count(Fate.TURNED_AWAY) == 0
    assert traffic.fate.count(Fate.ANSWERED) > 100


async def _served(settings: Settings) -> dict[str, SlateServed]:
    """Every answer that was logged, by id; the logging of the last ones may still be on its way."""
    store = open_store(settings.store, settings.store.url)
    found = [
        decode_slate(blob) for shard in range(settings.store.n_shards) for _, blob in await store.slates(shard, "", 100_000)
    ]
    await store.close()
    return {slate.recommendation_id: slate for slate in found}


async def _of_one_bundle(slate: SlateServed, shelf: BundleShelf, app: Running, then: LocalCandidates) -> bool:
    """Whether the bundle and the live counts that an answer names give that very answer, all stages in this process."""
    answer = await _offline(slate, shelf, app.world, then)
    shown = answer.shown()
    logged = dict(zip(slate.items, slate.scores, strict=True))
    again = dict(zip(answer.candidates.items[answer.row, shown].tolist(), answer.scores[shown].tolist(), strict=True))
    # Batches of different sizes round differently, so titles of equal scores may change places.
    alike = logged.keys() == again.keys() and np.allclose([logged[item] for item in again], list(again.values()), atol=1e-4)
    body = app.asked.get(slate.recommendation_id)
    if body is not None:
        sent = {item["content_id"]: item["score"] for row in body["rows"] for item in row["items"]}
        made = {answer.items.content_ids[item]: score for item, score in again.items()}
        alike = alike and sent.keys() == made.keys() and all(abs(sent[name] - made[name]) < 1e-3 for name in made)
    return bool(alike)


async def _offline(slate: SlateServed, shelf: BundleShelf, world: BundleWorld, then: LocalCandidates) -> Answer:
    said = slate.request
    asked = Asked(**said["asked"] | {"content_types": tuple(said["asked"]["content_types"])})
    bundle = shelf.named(slate.bundle_id)
    request = one(asked, slate.recommendation_id, slate.served_at_s, bundle.items)
    parts = world.parts_on(shelf, Known(columns([fold.decode(slate.state)], [slate.settings])))
    parts = replace(parts, candidates=AsServed(then, slate.counted))
    arm = Assignment(slate.arms, bundle.id, said["ranker"], said["slate"])
    return (await recommend(request, parts, assignments=[arm]))[0]

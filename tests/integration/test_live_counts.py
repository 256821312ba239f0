"""Feedback on a served application makes a title trend where it is watched, on every replica, through a killed follower."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
import ray
from ray import serve

from bundle_world import BundleWorld, made, publish
from recray.features.tally import Tally, decode, title_digests
from recray.serving.compose import APPLICATION, launch
from recray.serving.environment import free_ports
from recray.serving.follower import TALLY
from recray.settings import LiveSettings, Settings
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore

PATIENCE_S = 90.0
N_VIEWERS = 30


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return made(tmp_path_factory, "live")


@dataclass(frozen=True)
class Running:
    http: httpx.Client
    world: BundleWorld
    settings: Settings

    def watch(self, title: str, region: str, name: str, n: int = N_VIEWERS) -> None:
        for k in range(n):
            who = f"{name}-{k}"
            self.http.put(f"/profiles/{who}/main", json={"country": region}).raise_for_status()
            event = {"user_id": who, "profile_id": "main", "content_id": title, "action": "complete"}
            assert self.http.post("/recommendations/feedback", json=event).status_code == 202

    def trending(self, region: str) -> list[str]:
        """What the source proposes to a stranger, in its order, by explaining an answer that was just made."""
        params = {"user_id": f"s{time.monotonic_ns()}", "profile_id": "main", "region": region, "num_rows": 12, "row_size": 30}
        page = self.http.get("/recommendations/homepage", params=params).raise_for_status().json()
        assert page["degraded"] == []
        told = self.http.get(f"/recommendations/{page['recommendation_id']}/explain")
        while told.status_code == 404:  # it is logged after it is answered
            time.sleep(0.05)
            told = self.http.get(f"/recommendations/{page['recommendation_id']}/explain")
        by_rank = {
            source["rank"]: item["content_id"]
            for item in told.raise_for_status().json()["items"]
            for source in item["sources"]
            if source["source"] == "trending"
        }
        return [by_rank[rank] for rank in sorted(by_rank)]

    def tally(self) -> Tally | None:
        async def read() -> Tally | None:
            store = open_store(self.settings.store, self.settings.store.url)
            found = await store.versions(TALLY).read(0)
            await store.close()
            return decode(found.value) if found else None

        return asyncio.run(read())

    def counted(self, title: str) -> dict[str, int]:
        """Accounts that watched a title by region, out of the store."""
        tally = self.tally()
        if tally is None:
            return {}
        (digest,) = title_digests([title])
        rows = (tally.titles[tally.title] == digest) & (tally.region < len(tally.regions))
        found: dict[str, int] = {}
        for region, number in zip(tally.region[rows], tally.number[rows], strict=True):
            found[tally.regions[region]] = found.get(tally.regions[region], 0) + int(number)
        return found


def until(holds: Callable[[], bool]) -> float:
    """Seconds until something holds."""
    began_s = time.monotonic()
    while not holds():
        assert time.monotonic() - began_s < PATIENCE_S
        time.sleep(0.1)
    return time.monotonic() - began_s


@pytest.fixture(scope="module")
def running(world: BundleWorld, local_serve: None) -> Iterator[Running]:
    with EmbeddedStore.start(world.settings.home) as store:
        asyncio.run(publish(world, store.url))
        changed = {
            "topology": "composed",
            "port": next(free_ports()),
            "response_cache": False,
            "most_delay_ms": 60_000,
            "candidates": world.settings.serving.candidates.model_copy(update={"min_replicas": 2, "max_replicas": 2}),
        }
        settings = world.settings.model_copy(
            update={
                "serving": world.settings.serving.model_copy(update=changed),
                "store": world.settings.store.model_copy(update={"url": store.url, "timeout_s": 10.0}),
                "live": LiveSettings(every_s=0.3, refresh_s=0.3, kept_versions=10_000),
            }
        )
        url = launch(settings)
        with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as http:
            app = Running(http, world, settings)
            until(lambda: http.get("/recommendations/homepage", params={"user_id": "u", "profile_id": "p"}).status_code == 200)
            yield app
        serve.delete(APPLICATION)


def hot_titles(world: BundleWorld, regions: list[str]) -> list[str]:
    """Titles that anyone may be shown in these regions now, least watched first."""
    items, now_s = world.bundle.items, time.time_ns() // 1_000_000_000
    allowed = items.maturity <= 7
    for region in regions:
        allowed &= items.licensed(region, now_s)
    return [items.content_ids[n] for n in sorted(allowed.nonzero()[0], key=lambda n: items.plays[n, 2])]


def test_a_watched_title_trends_in_its_region_within_seconds_on_every_replica_and_not_in_another(running: Running) -> None:
    here, there = list(running.world.bundle.items.region_names)[:2]
    hot = hot_titles(running.world, [here, there])[0]
    before = running.trending(there)
    running.watch(hot, here, "viewer")
    took_s = until(lambda: all(running.trending(here)[:1] == [hot] for _ in range(10)))
    assert took_s < PATIENCE_S / 2
    assert running.counted(hot) == {here: N_VIEWERS}
    for _ in range(6):
        assert (hot in running.trending(there)[:5]) == (hot in before[:5])


def test_a_killed_follower_goes_on_where_it_was_and_counts_nothing_twice(running: Running) -> None:
    here = next(iter(running.world.bundle.items.region_names))
    title = hot_titles(running.world, [here])[1]
    for n in range(3):
        running.watch(title, here, f"round{n}", n=10)
        until(lambda n=n: sum(running.counted(title).values()) > 10 * n)  # type: ignore[misc]
        names = {one["name"] for one in ray.util.list_named_actors(all_namespaces=True) if "#Sink#" in one["name"]}
        ray.kill(ray.get_actor(names.pop(), namespace="serve"), no_restart=False)
        running.watch(title, here, f"round{n}", n=3)  # the same ones again, while nobody counts
    until(lambda: running.counted(title) == {here: 30})
    version = running.http.get(running.http.base_url.join("/readyz")).json()["tally"]["version"]
    running.watch(hot_titles(running.world, [here])[2], here, "after", n=2)
    until(lambda: running.http.get(running.http.base_url.join("/readyz")).json()["tally"]["version"] > version)
    assert running.counted(title) == {here: 30}


def test_a_flood_from_one_account_makes_nothing_trend(running: Running) -> None:
    here = next(iter(running.world.bundle.items.region_names))
    title = hot_titles(running.world, [here])[3]
    play = {"user_id": "villain", "content_id": title, "action": "play", "progress": 0.5}
    flood = [play | {"profile_id": f"p{n % 40}", "event_id": f"f{n}"} for n in range(2_000)]
    for n in range(40):
        running.http.put(f"/profiles/villain/p{n}", json={"country": here}).raise_for_status()
    for start in range(0, len(flood), 500):
        assert running.http.post("/recommendations/feedback", json=flood[start : start + 500]).status_code == 202
    until(lambda: running.counted(title) == {here: 1})
    running.watch(hot_titles(running.world, [here])[4], here, "behind", n=2)
    until(lambda: sum(running.counted(hot_titles(running.world, [here])[4]).values()) == 2)
    assert running.counted(title) == {here: 1}
    assert title not in running.trending(here)[:5]

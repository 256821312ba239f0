"""The same answers from every placement: in this process, fused in one deployment, and composed of a deployment per stage."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import ray
from ray import serve

from bundle_world import BundleWorld, made, publish
from recray.serving.compose import APPLICATION, launch
from recray.serving.environment import is_free
from recray.settings import LiveSettings, Settings
from recray.settings.reach import HAPROXY_PORTS
from recray.stores.embedded import EmbeddedStore

QUIET_S = 60.0


@dataclass(frozen=True)
class Running:
    """An application and the store behind it."""

    http: httpx.Client
    store: EmbeddedStore
    world: BundleWorld


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return made(tmp_path_factory, "topologies")


@pytest.fixture(scope="module")
def store(world: BundleWorld) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.start(world.settings.home) as started:
        asyncio.run(publish(world, started.url))
        yield started


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # What served before may still be closing HAProxy's ports, which are fixed once Serve is imported.
    deadline_s = time.monotonic() + QUIET_S
    while not all(is_free(int(os.environ[name]), "") for name in HAPROXY_PORTS if name in os.environ):
        assert time.monotonic() < deadline_s, "HAProxy's ports stay taken"
        time.sleep(0.2)
    ray.init(num_cpus=8, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False)
    yield
    serve.shutdown()
    ray.shutdown()


def settings_for(world: BundleWorld, topology: str, store_url: str, port: int) -> Settings:
    # Without the cache: one placement must not be answered with what the other kept, nor with what was counted meanwhile.
    differences = {"topology": topology, "port": port, "response_cache": False}
    serving = world.settings.serving.model_copy(update=differences)
    store = world.settings.store.model_copy(update={"url": store_url, "timeout_s": 2.0})
    return world.settings.model_copy(update={"serving": serving, "store": store, "live": LiveSettings(served=False)})


@pytest.fixture(scope="module")
def port(cluster: None) -> int:
    return free_port()


@pytest.fixture(scope="module", params=["fused", "composed"])
def running(request: pytest.FixtureRequest, world: BundleWorld, store: EmbeddedStore, port: int) -> Iterator[Running]:
    url = launch(settings_for(world, request.param, store.url, port))
    with httpx.Client(base_url=f"{url}/api/v1/recommendations", timeout=30) as http:
        _until_answered(http)
        yield Running(http, store, world)
    serve.delete(APPLICATION)


def _until_answered(http: httpx.Client) -> None:
    """HAProxy learns of new replicas within moments of the application's being ready."""
    deadline = time.monotonic() + QUIET_S
    while http.get("/homepage", params={"user_id": "u", "profile_id": "p"}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


PAGES: list[tuple[str, dict[str, Any]]] = [
    ("homepage", {"num_rows": 6, "row_size": 8}),
    ("post-watch", {"num_recommendations": 8}),
    ("search", {"num_results": 8}),
    ("category", {"num_recommendations": 8}),
]


def asked(world: BundleWorld, page: str) -> dict[str, str]:
    items = world.bundle.items
    return {
        "homepage": {},
        "post-watch": {"watched_content_id": items.content_ids[5]},
        "search": {"query": items.names[3].split()[0]},
        "category": {"category": items.genre_names[0]},
    }[page]


def content(body: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when and how it was answered."""
    timeless = {"recommendation_id", "took_ms"}
    return {name: value for name, value in body.items() if name not in timeless}


_seen: dict[str, list[dict[str, Any]]] = {}


def test_every_placement_gives_the_same_answers(request: pytest.FixtureRequest, running: Running) -> None:
    key = next(iter(running.world.states))
    answers = []
    for page, parameters in PAGES:
        who = {"user_id": key.user_id, "profile_id": key.profile_id}
        answer = running.http.get(f"/{page}", params=who | parameters | asked(running.world, page))
        assert answer.status_code == 200, answer.text
        assert answer.json()["degraded"] == []
        answers.append(_without_clock(content(answer.json())))
    topology = request.node.callspec.params["running"]
    _seen[topology] = answers
    if len(_seen) == 2:
        assert _seen["fused"] == _seen["composed"]


def _without_clock(body: dict[str, Any]) -> dict[str, Any]:
    """Context features follow the clock, so scores may differ in their last digits from one second to the next."""
    listed = [item for row in body.get("rows", []) for item in row["items"]] + body.get("recommendations", [])
    for item in listed:
        item["score"] = round(item["score"], 2)
    return body


def test_feedback_changes_the_next_answer(running: Running) -> None:
    who = {"user_id": f"viewer-{time.monotonic_ns()}", "profile_id": "main"}
    before = running.http.get("/homepage", params=who).json()
    first = before["rows"][0]["items"][0]["content_id"]
    assert running.http.post("/feedback", json=who | {"content_id": first, "action": "complete"}).status_code == 202
    after = running.http.get("/homepage", params=who).json()
    assert first not in [item["content_id"] for row in after["rows"] for item in row["items"]]
    assert after["profile"]["n_events"] == 1


def test_a_frozen_store_degrades_answers_and_fails_none(running: Running) -> None:
    who = {"user_id": "viewer", "profile_id": "main"}
    os.kill(running.store.pid, signal.SIGSTOP)
    try:
        answers = [running.http.get("/homepage", params=who) for _ in range(3)]
        refused = running.http.post("/feedback", json=who | {"content_id": "x", "action": "play"})
    finally:
        os.kill(running.store.pid, signal.SIGCONT)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert all("features" in answer.json()["degraded"] for answer in answers)
    assert all(item["maturity"] <= 7 for answer in answers for row in answer.json()["rows"] for item in row["items"])
    assert refused.status_code in {404, 503}
    deadline = time.monotonic() + QUIET_S
    while running.http.get("/homepage", params=who).json()["degraded"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_killed_replica_comes_back(running: Running) -> None:
    who = {"user_id": "viewer", "profile_id": "main"}
    names = {replica["name"] for replica in ray.util.list_named_actors(all_namespaces=True) if "#" in replica["name"]}
    victim = next(name for name in sorted(names) if "Ranker-deep" in name or "Gateway" in name)
    ray.kill(ray.get_actor(victim, namespace="serve"), no_restart=False)
    deadline = time.monotonic() + QUIET_S
    while True:
        try:
            answer = running.http.get("/homepage", params=who)
            if answer.status_code == 200 and not answer.json()["degraded"]:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)

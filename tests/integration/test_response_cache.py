"""The application with its cache on, as an edge and two replicas over one store see it: a real bundle, no network."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from bundle_world import NOW_S, BundleWorld, made
from recray.errors import StageError
from recray.schema import ProfileKey
from recray.serving.auth import operator_only
from recray.serving.cache import open_cache
from recray.serving.counters import Counters
from recray.serving.gateway import build_app
from recray.serving.service import Service
from recray.settings import Settings
from recray.stores.memory import MemoryStore


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return made(tmp_path_factory, "cached")


@dataclass
class Replica:
    """One gateway's application."""

    http: httpx.AsyncClient
    service: Service
    key: ProfileKey

    async def get(self, page: str = "homepage", headers: dict[str, str] | None = None, **asked: Any) -> httpx.Response:
        who = {"user_id": self.key.user_id, "profile_id": self.key.profile_id}
        answer = await self.http.get(f"/api/v1/recommendations/{page}", params=who | asked, headers=headers)
        await self.service.drain()
        return answer

    async def act(self, content_id: str, action: str = "complete") -> None:
        event = {"user_id": self.key.user_id, "profile_id": self.key.profile_id, "content_id": content_id, "action": action}
        (await self.http.post("/api/v1/recommendations/feedback", json=event)).raise_for_status()


class Numbered:
    """Ids that are never given twice."""

    n = 0

    def __call__(self) -> str:
        self.n += 1
        return f"id-{self.n}"


def application(world: BundleWorld, store: MemoryStore, new_id: Numbered, settings: Settings) -> Service:
    parts, counters = world.parts(store), Counters()
    cache = open_cache(settings, parts, store, counters, lambda: NOW_S, new_id)
    return world.service(parts, store, new_id=new_id, counters=counters, cache=cache)


async def opened(world: BundleWorld, n: int, **serving: Any) -> tuple[AsyncExitStack, list[Replica]]:
    store, new_id, stack = await world.store(), Numbered(), AsyncExitStack()
    settings = world.settings.model_copy(update={"serving": world.settings.serving.model_copy(update=serving)})
    replicas = []
    for _ in range(n):
        service = application(world, store, new_id, settings)
        transport = httpx.ASGITransport(build_app(service, operator_only(""), settings))
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://recray"))
        replicas.append(Replica(http, service, next(iter(world.states))))
    return stack, replicas


@pytest.fixture
async def replicas(world: BundleWorld) -> AsyncIterator[list[Replica]]:
    stack, found = await opened(world, 2)
    async with stack:
        yield found


def shown(answer: httpx.Response) -> list[str]:
    body = answer.json()
    return [item["content_id"] for row in body.get("rows", []) for item in row["items"]]


async def test_answer_is_reused_byte_for_byte_by_both_replicas_and_logged_once(replicas: list[Replica]) -> None:
    one, other = replicas
    answers = [await one.get(), await one.get(), await other.get()]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "l1", "l2"]
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("age") for answer in answers] == [None, "0", "0"]
    assert len((await one.service.store.export(one.key))["slates"]) == 1
    why = await one.http.get(f"/api/v1/recommendations/{answers[2].json()['recommendation_id']}/explain")
    assert why.json()["replayed"] is True
    assert "etag" not in why.headers


async def test_feedback_to_one_replica_makes_the_next_page_of_the_other_fresh_and_its_tag_void(replicas: list[Replica]) -> None:
    one, other = replicas
    before = await one.get()
    assert (await other.get(headers={"if-none-match": before.headers["etag"]})).status_code == 304
    await other.act(shown(before)[0])
    after = await one.get(headers={"if-none-match": before.headers["etag"]})
    assert (after.status_code, after.headers["x-cache"]) == (200, "miss")
    assert shown(before)[0] not in shown(after)
    assert after.headers["etag"] != before.headers["etag"]


async def test_edge_that_asks_again_gets_304_without_a_body_from_either_level(replicas: list[Replica]) -> None:
    one, other = replicas
    tag = (await one.get()).headers["etag"]
    for replica, level in ((one, "l1"), (other, "l2"), (other, "l1")):
        answer = await replica.get(headers={"if-none-match": f'"other", W/{tag}'})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-cache"] == level
    assert (await one.get(headers={"if-none-match": '"another"'})).status_code == 200


async def test_every_page_and_parameter_has_an_answer_of_its_own(world: BundleWorld, replicas: list[Replica]) -> None:
    items = world.bundle.items
    asked: list[tuple[str, dict[str, Any]]] = [
        ("homepage", {}),
        ("homepage", {"num_rows": 3}),
        ("homepage", {"device": "tv"}),
        ("homepage", {"content_types": "movie"}),
        ("homepage", {"exclude_watched": False}),
        ("post-watch", {"watched_content_id": items.content_ids[5]}),
        ("post-watch", {"watched_content_id": items.content_ids[6]}),
        ("search", {"query": items.names[3].split()[0]}),
        ("category", {"category": items.genre_names[0]}),
    ]
    made = [await replicas[0].get(page, **parameters) for page, parameters in asked]
    again = [await replicas[0].get(page, **parameters) for page, parameters in asked]
    assert [answer.headers["x-cache"] for answer in made] == ["miss"] * len(asked)
    assert [answer.content for answer in again] == [answer.content for answer in made]
    assert {answer.headers["x-cache"] for answer in again} == {"l1"}


async def test_settings_and_erasure_end_what_was_made_before_them(replicas: list[Replica]) -> None:
    one, other = replicas
    at = f"/api/v1/profiles/{one.key.user_id}/{one.key.profile_id}"
    for change in (one.http.put(at, json={"maturity_limit": 7}), one.http.delete(at)):
        before = [await replica.get() for replica in replicas]
        (await change).raise_for_status()
        after = await other.get(headers={"if-none-match": before[1].headers["etag"]})
        assert (after.status_code, after.headers["x-cache"]) == (200, "miss")
    assert after.json()["profile"]["n_events"] == 0
    assert (await one.http.get(f"{at}/export")).json()["kept_answers"] == [after.json()]


async def test_degraded_and_refused_answers_are_kept_by_nobody(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*about: Any) -> Any:
        raise StageError("the ranker is gone")

    monkeypatch.setattr(type(replicas[0].service.parts.ranking), "predict", broken)
    for _ in range(2):
        answer = await replicas[0].get()
        assert answer.json()["degraded"] == ["rank"]
        assert (answer.headers["x-cache"], answer.headers["cache-control"]) == ("miss", "private, no-store")
        assert "etag" not in answer.headers
    refused = await replicas[0].get("post-watch", watched_content_id="no-such-title")
    assert (refused.status_code, refused.headers["cache-control"]) == (404, "no-store")


async def test_without_the_cache_each_answer_is_made_and_none_is_kept(world: BundleWorld) -> None:
    stack, (replica,) = await opened(world, 1, response_cache=False)
    async with stack:
        answers = [await replica.get() for _ in range(2)]
    assert len({answer.json()["recommendation_id"] for answer in answers}) == 2
    assert all("x-cache" not in answer.headers and "etag" not in answer.headers for answer in answers)
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}

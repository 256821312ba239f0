"""One request path: the same answer in a batch or alone, before and after a bundle is saved, and when it is made again."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
import pytest

from bundle_world import NOW_S, BundleWorld
from recray.errors import RequestError
from recray.experiments.assign import Assignment
from recray.features import fold
from recray.features.vectorize import RankerInput
from recray.features.views import SOURCES
from recray.pages.answer import explained, written
from recray.recommend import STAGES, Ranking, recommend
from recray.schema import Floats, ProfileKey, ProfileSettings, Requests
from recray.serving.asking import Asked, one
from recray.serving.feedback import Feedback
from recray.serving.service import Service
from recray.stores.event_log import decode_slate, shard_of

STRANGER = ProfileKey("nobody", "main")


def asks(world: BundleWorld, n: int = 6) -> list[Requests]:
    keys = [*list(world.states)[:n], STRANGER]
    pages = ("homepage", "post-watch", "search", "category")
    items = world.bundle.items
    return [
        one(
            Asked(
                pages[place % 4],
                key.user_id,
                key.profile_id,
                n_items=8,
                n_rows=6,
                watched_content_id=items.content_ids[place] if place % 4 == 1 else None,
                query=items.names[3].split()[0] if place % 4 == 2 else "",
                category=items.genre_names[0] if place % 4 == 3 else "",
            ),
            f"r{place}",
            NOW_S,
            items,
        )
        for place, key in enumerate(keys)
    ]


async def _asked(app: Service, asked: Asked) -> dict[str, Any]:
    page: dict[str, Any] = orjson.loads((await app.ask(asked)).body)
    return page


def body(answer: Any) -> dict[str, Any]:
    """What the viewer gets, but for how long it took."""
    return {name: value for name, value in orjson.loads(written(answer).body).items() if name != "took_ms"}


async def answers(world: BundleWorld, batch: Requests) -> list[dict[str, Any]]:
    return [body(answer) for answer in await recommend(batch, world.parts(await world.store()))]


async def test_a_request_is_answered_alike_alone_and_in_a_batch(world: BundleWorld) -> None:
    together = await answers(world, Requests.join(asks(world)))
    alone = [(await answers(world, request))[0] for request in asks(world)]
    assert together == alone
    assert any(page.get("rows") or page.get("recommendations") for page in alone)


async def test_lists_are_in_the_order_of_a_source_where_no_ranker_pays(world: BundleWorld) -> None:
    parts = world.parts(await world.store())
    parts.shelf._loaded[world.bundle.id] = world.unpaid()  # type: ignore[attr-defined]  # its only way in is the registry
    parts = replace(parts, slate=parts.slate.model_copy(update={"diversity": 0.0}))
    arms = [Assignment(ranker=asked) for asked in ("deep", "boosted", None)]
    keys = [key for key, state in world.states.items() if state.recent.size][:3]
    batch = Requests.join(
        [one(Asked("category", key.user_id, key.profile_id, 8), "r", NOW_S, world.bundle.items) for key in keys]
    )
    found = await recommend(batch, parts, assignments=arms)
    cowatch = SOURCES.index("cowatch")
    for answer in found:
        ranks = answer.candidates.ranks[answer.row, answer.places, cowatch].tolist()
        proposed = [rank for rank in ranks if rank]
        assert answer.algorithm == "by-cowatch"
        assert proposed
        assert ranks[: len(proposed)] == sorted(proposed)
        assert not answer.degraded
        assert {title["p"] for title in explained(answer)["items"]} == {None}
        assert written(answer).whole


async def test_an_arm_gets_the_ranker_it_names_only_if_that_pays(world: BundleWorld) -> None:
    parts = world.parts(await world.store())
    parts.shelf._loaded[world.bundle.id] = world.unpaid("boosted")  # type: ignore[attr-defined]  # as above
    arms = [Assignment(ranker=asked) for asked in ("deep", "boosted", None)]
    batch = Requests.join(asks(world, 2))
    found = await recommend(batch, parts, assignments=arms)
    assert [answer.algorithm for answer in found] == ["by-cowatch", "boosted", "by-cowatch"]
    assert [answer.ranker for answer in found] == ["deep", "boosted", None]
    assert [answer.predicted for answer in found] == [False, True, False]


async def test_a_bundle_answers_alike_before_and_after_it_is_saved(world: BundleWorld) -> None:
    from recray.bundle import from_bytes, to_bytes

    again = from_bytes(
        world.bundle.id,
        world.bundle.manifest,
        to_bytes(world.bundle.items, world.bundle.titles, world.bundle.sources, world.bundle.rankers, world.bundle.preranks),
    )
    shelf = world.shelf()
    before = await answers(world, Requests.join(asks(world)))
    parts = world.parts(await world.store())
    parts.shelf._loaded[again.id] = again  # type: ignore[attr-defined]  # the shelf's only way in is the registry
    assert [body(answer) for answer in await recommend(Requests.join(asks(world)), parts)] == before
    assert shelf.champion() is not None


def service(world: BundleWorld, store: Any) -> Service:
    ids = iter(f"id-{n}" for n in range(1_000))
    return world.service(world.parts(store), store, new_id=lambda: next(ids))


async def test_settings_can_be_written_back_though_the_catalogue_lost_a_picked_genre(world: BundleWorld) -> None:
    store = await world.store()
    app = service(world, store)
    genre = world.bundle.items.genre_names[0]
    await store.put_settings(STRANGER, ProfileSettings(genres=("Lost", genre)))
    assert await app.picked(STRANGER, ["Lost", genre.upper(), genre]) == ("Lost", genre)
    with pytest.raises(RequestError, match=f"genres has 'Strange'; expected some of .*{genre}"):
        await app.picked(STRANGER, ["Lost", "Strange"])
    page = await _asked(app, Asked("homepage", STRANGER.user_id, STRANGER.profile_id, n_items=8, n_rows=5))
    assert page["degraded"] == []


async def test_an_explanation_makes_the_very_same_answer_again_even_after_the_viewer_went_on(world: BundleWorld) -> None:
    store = await world.store()
    app = service(world, store)
    key = next(iter(world.states))
    page = await _asked(app, Asked("homepage", key.user_id, key.profile_id, n_items=8, n_rows=5))
    await app.drain()
    shown = [item["content_id"] for row in page["rows"] for item in row["items"]]
    hide = Feedback(user_id=key.user_id, profile_id=key.profile_id, content_id=shown[0], action="hide")
    assert await app.feedback([hide]) == ["accepted"]
    await app.drain()
    why = await app.explain(page["recommendation_id"])
    assert why["replayed"] is True
    assert [item["content_id"] for item in why["items"]] == shown


@dataclass
class Recording:
    """A `Ranking` that keeps every input it was given."""

    ranking: Ranking
    given: list[RankerInput] = field(default_factory=list)

    async def predict(self, bundle_id: str, ranker: str, batch: RankerInput) -> Floats:
        self.given.append(batch)
        return await self.ranking.predict(bundle_id, ranker, batch)


def columns_of(batch: RankerInput) -> list[bytes]:
    return [getattr(batch, name).tobytes() for name in ("user", "match", "items", "history")]


async def test_the_vectors_that_served_a_request_are_rebuilt_from_the_logs_bit_for_bit(world: BundleWorld) -> None:
    store = await world.store()
    parts = world.parts(store)
    recording = Recording(parts.ranking)
    ids = iter(f"id-{n}" for n in range(1_000))
    app = world.service(replace(parts, ranking=recording), store, new_id=lambda: next(ids))
    key = next(iter(world.states))

    async def told(title: int, *actions: str) -> None:
        who = {"user_id": key.user_id, "profile_id": key.profile_id}
        events = [Feedback(**who, content_id=world.bundle.items.content_ids[title], action=action) for action in actions]
        assert await app.feedback(events) == ["accepted"] * len(events)
        await app.drain()

    await told(7, "play", "like")
    page = await _asked(app, Asked("homepage", key.user_id, key.profile_id, n_items=8, n_rows=5))
    served = columns_of(recording.given[-1])
    await told(8, "complete", "dislike")
    blob = await store.slate(page["recommendation_id"])
    assert blob is not None
    shard = shard_of(key, world.settings.store.n_shards)
    words = np.array([event["word"] for _, event in await store.events(shard, "", 100)][:2], np.uint64)
    assert decode_slate(blob).state == fold.encode(fold.fold(world.states[key], words))
    await app.explain(page["recommendation_id"])
    assert columns_of(recording.given[-1]) == served
    await _asked(app, Asked("homepage", key.user_id, key.profile_id, n_items=8, n_rows=5))
    assert columns_of(recording.given[-1]) != served


async def test_feedback_is_seen_by_the_next_request_before_it_was_folded(world: BundleWorld) -> None:
    store = await world.store()
    app = service(world, store)
    page = await _asked(app, Asked("homepage", "nobody", "main", n_items=8, n_rows=5))
    first = page["rows"][0]["items"][0]["content_id"]
    object.__setattr__(app._intake, "settle", lambda key: None)
    await app.feedback([Feedback(user_id="nobody", profile_id="main", content_id=first, action="complete")])
    (record,) = await store.read([STRANGER])
    assert record.inbox
    assert not record.state
    after = await _asked(app, Asked("homepage", "nobody", "main", n_items=8, n_rows=5))
    assert after["profile"]["n_events"] == 1
    assert first not in [item["content_id"] for row in after["rows"] for item in row["items"]]


async def test_a_stage_that_fails_is_named_and_the_answer_goes_on(world: BundleWorld) -> None:
    import dataclasses

    from recray.errors import StageError, StoreError

    class Broken:
        async def profiles(self, keys: Any) -> Any:
            raise StoreError("the store is gone")

        async def candidates(self, *about: Any, trace: bool) -> Any:
            await asyncio.sleep(60)

        async def predict(self, *about: Any) -> Any:
            raise StageError("the ranker is gone")

    whole = world.parts(await world.store())
    for stage, part in (("features", "features"), ("candidates", "candidates"), ("rank", "ranking")):
        parts = dataclasses.replace(whole, **{part: Broken()})
        parts.guards["candidates"].budget_s = 1.0 if stage == "candidates" else 30.0
        (answer,) = await recommend(asks(world)[0], parts)
        page = body(answer)
        assert page["degraded"] == [stage]
        assert page["rows"]
        if stage == "features":
            assert all(item["maturity"] <= 7 for row in page["rows"] for item in row["items"])


def test_every_stage_of_the_picture_is_timed(world: BundleWorld) -> None:
    async def took() -> dict[str, float]:
        (answer,) = await recommend(asks(world)[0], world.parts(await world.store()))
        return answer.took_ms

    assert list(asyncio.run(took())) == [*STAGES, "total"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)

"""Live counts in the one request path: what is hot is in the next answers, of one version each, and is made again exactly."""

import dataclasses
from typing import Any

import orjson
import pytest

from bundle_world import NOW_S, BundleWorld
from recray.errors import StoreError
from recray.features.fold import pack
from recray.features.items import Items
from recray.schema import NOT_COUNTED, Action, Counted, Event, ProfileKey, ProfileSettings
from recray.serving.asking import Asked
from recray.serving.follower import TALLY, Follower
from recray.serving.live import LiveSources
from recray.serving.new_titles import NewTitles
from recray.serving.service import Service
from recray.serving.stages import LocalCandidates
from recray.settings import LiveSettings
from recray.stores.event_log import decode_slate
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival
from recray.stores.registry import Registry

AT_S = NOW_S - 1


@dataclasses.dataclass
class Alive:
    """A service with its follower and live sources, all in this process and stepped by hand."""

    world: BundleWorld
    store: MemoryStore
    service: Service
    follower: Follower
    live: LiveSources
    now_s: list[float]

    async def catch_up(self, at_s: int = NOW_S) -> None:
        self.now_s[0] = float(at_s)
        while await self.follower.step():
            pass
        await self.live.refresh()

    async def crowd(self, title: str, n: int, region: str, name: str = "crowd") -> None:
        number = self.world.bundle.items.number(title)
        for k in range(n):
            key = ProfileKey(f"{name}-{region}-{k}", "main")
            await self.store.put_settings(key, ProfileSettings(country=region))
            event = Event(f"{name}{region}{k}{title}", key.user_id, key.profile_id, title, Action.PLAY, AT_S, progress=1.0)
            await self.store.append([Arrival(event, int(pack(AT_S, number, Action.PLAY, 0, 63)), AT_S)])

    async def page(self, region: str, user_id: str = "stranger") -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(
            (await self.service.ask(Asked("homepage", user_id, "main", 8, 8, region=region))).body
        )
        await self.service.drain()
        return body

    async def trending(self, region: str) -> list[str]:
        _, sources = await self.live.of(self.service.champion())
        return self._listed(sources["trending"], region)

    def _listed(self, source: Any, region: str) -> list[str]:
        row = source._row_of.get(region, 0)
        return [self.world.bundle.items.content_ids[item] for item in source._order[row] if item >= 0]


async def alive(world: BundleWorld, **knobs: Any) -> Alive:
    store = await world.store()
    shelf = world.shelf()
    now_s = [float(NOW_S)]
    settings = world.settings.model_copy(update={"live": LiveSettings(**knobs)})
    live = LiveSources(shelf, store, settings.live, lambda: now_s[0])
    parts = dataclasses.replace(world.parts(store), shelf=shelf, candidates=LocalCandidates(shelf, settings.sources, live))
    new_titles = NewTitles(Registry(settings.registry_dir), settings.sources.new_release_days)
    follower = Follower(store, new_titles, settings, lambda: now_s[0])
    return Alive(world, store, world.service(parts, store), follower, live, now_s)


def unwatched(items: Items, region: str) -> str:
    """A title that may be shown in a region, to anyone, and that trains nobody's expectation."""
    allowed = items.licensed(region, NOW_S) & (items.maturity <= 7)
    return items.content_ids[int(min(allowed.nonzero()[0], key=lambda number: items.plays[number, 2]))]


def shown(page: dict[str, Any]) -> set[str]:
    return {item["content_id"] for row in page["rows"] for item in row["items"]}


async def test_a_title_that_becomes_hot_trends_in_its_region_and_not_in_another(world: BundleWorld) -> None:
    app = await alive(world)
    here, there = world.bundle.items.region_names[:2]
    hot = unwatched(world.bundle.items, here)
    before = await app.trending(there)
    await app.crowd(hot, 25, here)
    await app.catch_up()
    assert (await app.trending(here))[0] == hot
    there_now = await app.trending(there)
    assert hot not in there_now[:5]
    assert (hot in there_now) == (hot in before)


async def test_an_answer_says_by_which_version_it_was_made_and_is_made_again_by_that(world: BundleWorld) -> None:
    app = await alive(world)
    region = world.bundle.items.region_names[0]
    await app.crowd(unwatched(world.bundle.items, region), 25, region)
    await app.catch_up()
    page = await app.page(region)
    blob = await app.store.slate(page["recommendation_id"])
    assert blob is not None
    assert decode_slate(blob).counted == Counted(1, NOW_S)
    others = [title for title in world.bundle.items.content_ids if title not in shown(page)]
    for n, title in enumerate(others[:12]):
        await app.crowd(title, 30, region, name=f"later{n}")
    await app.catch_up(NOW_S + 2)
    why = await app.service.explain(page["recommendation_id"])
    assert (why["replayed"], why["live_counts"]) == (True, "as served")
    assert shown(await app.page(region)) != shown(page), "live counts of now would have made another answer"


async def test_an_explanation_says_when_the_counts_of_then_are_gone(world: BundleWorld) -> None:
    app = await alive(world, kept_versions=1)
    region = world.bundle.items.region_names[0]
    await app.crowd(unwatched(world.bundle.items, region), 25, region)
    await app.catch_up()
    page = await app.page(region)
    await app.crowd(world.bundle.items.content_ids[0], 3, region)
    await app.catch_up(NOW_S + 2)
    why = await app.service.explain(page["recommendation_id"])
    assert why["live_counts"].startswith("of now")


async def test_before_anything_was_counted_answers_are_the_bundle_s_own_and_stay_explicable(world: BundleWorld) -> None:
    app = await alive(world)
    await app.live.refresh()
    region = world.bundle.items.region_names[0]
    page = await app.page(region)
    assert page["degraded"] == []
    assert (await app.live.of(app.service.champion()))[0] == NOT_COUNTED
    await app.crowd(unwatched(world.bundle.items, region), 25, region)
    await app.catch_up()
    why = await app.service.explain(page["recommendation_id"])
    assert (why["replayed"], why["live_counts"]) == (True, "as served")


async def test_what_was_shown_of_new_titles_is_counted_from_the_slates(world: BundleWorld) -> None:
    app = await alive(world)
    region = world.bundle.items.region_names[0]
    page = await app.page(region)
    await app.catch_up()
    assert app.live._tally is not None
    tally = app.live._tally[1]
    began_s = world.bundle.items.added_at_s.clip(world.bundle.items.release_at_s)
    new = {title for title, began in zip(world.bundle.items.content_ids, began_s, strict=True)
           if began >= world.bundle.items.as_of_s - 365 * 86_400}  # fmt: skip
    assert tally.number.sum() == len(shown(page) & new) > 0


async def test_a_silent_store_leaves_what_was_read_last_and_it_decays(
    world: BundleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await alive(world)
    region = world.bundle.items.region_names[0]
    hot = unwatched(world.bundle.items, region)
    await app.crowd(hot, 25, region)
    await app.catch_up()

    async def silent() -> int:
        raise StoreError("nobody answers")

    monkeypatch.setattr(app.store.versions(TALLY), "newest", silent)
    app.now_s[0] += 30 * 86_400
    with pytest.raises(StoreError):
        await app.live.refresh()
    counted, sources = await app.live.of(app.service.champion())
    assert counted == Counted(1, (NOW_S + 30 * 86_400) // 60 * 60)
    assert hot not in app._listed(sources["trending"], region)
    page = await app.page(region)
    assert page["degraded"] == []


async def test_readiness_and_metrics_tell_the_age_of_the_tally(world: BundleWorld) -> None:
    app = await alive(world)
    assert (await app.service.readiness())["tally"] is None
    await app.crowd(world.bundle.items.content_ids[0], 3, world.bundle.items.region_names[0])
    await app.catch_up(NOW_S - 7)
    told = (await app.service.readiness())["tally"]
    assert (told["version"], told["age_s"], told["rows"]) == (1, 7, 1)
    assert b'recray_tally{fact="age_s"} 7.0' in await app.service.metrics()


async def test_a_layout_is_made_once_per_version_and_minute(world: BundleWorld) -> None:
    app = await alive(world)
    region = world.bundle.items.region_names[0]
    await app.crowd(unwatched(world.bundle.items, region), 5, region)
    await app.catch_up()
    _, first = await app.live.of(app.service.champion())
    await app.live.refresh()
    assert (await app.live.of(app.service.champion()))[1] is first
    app.now_s[0] += 61
    await app.live.refresh()
    assert (await app.live.of(app.service.champion()))[1] is not first

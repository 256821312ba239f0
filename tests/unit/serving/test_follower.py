"""The follower on a store in memory: each event once, whatever is killed between any two steps, and nothing trimmed unread."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest

from recray.errors import ModelError, StoreError
from recray.features import fold
from recray.features.tally import SHOWN, decode, title_digests
from recray.schema import Action, Event, ProfileKey, ProfileSettings, Words
from recray.serving.follower import TALLY, Follower, TallyFacts
from recray.settings import Settings, resolve
from recray.stores.event_log import SlateServed, encode_slate
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival
from recray.stores.versions import MemoryVersions, Version

NOW_S = 1_700_000_000
SETTINGS = resolve({"store": {"n_shards": 4}, "live": {"max_entries": 400, "kept_versions": 3}})
TITLES = [f"t{n}" for n in range(10)]


class Killed(BaseException):
    """The process is gone: nothing of it goes on."""


@dataclass
class TwoNew:
    """Of bundle "b" the first two titles are new; there is no other."""

    def digests(self, bundle_id: str) -> Words:
        if bundle_id != "b":
            raise ModelError("there is no such bundle")
        return np.append(title_digests(TITLES[:2]), np.zeros(8, np.uint64))


@dataclass
class World:
    store: MemoryStore = field(default_factory=lambda: MemoryStore(SETTINGS.store, lambda: 0.0))
    now_s: float = float(NOW_S)
    n_sent: int = 0

    def follower(self, settings: Settings = SETTINGS) -> Follower:
        return Follower(self.store, TwoNew(), settings, lambda: self.now_s)  # type: ignore[arg-type]

    async def watch(self, user_id: str, title: str, action: Action = Action.PLAY, **facts: Any) -> None:
        self.n_sent += 1
        at_s = facts.pop("at_s", int(self.now_s))
        event = Event(f"e{self.n_sent}", user_id, facts.pop("profile_id", "main"), title, action, at_s, **facts)
        parts = (np.array([part]) for part in (at_s, TITLES.index(title), action, 0, self.n_sent % 64))
        await self.store.append([Arrival(event, int(fold.pack(*parts)[0]), at_s)])  # type: ignore[arg-type]

    async def counts(self) -> dict[tuple[str, str], int]:
        found = await self.store.versions(TALLY).read(0)
        assert found is not None
        tally = decode(found.value)
        names = dict(zip(title_digests(TITLES).tolist(), TITLES, strict=True))
        total: Counter[tuple[str, str]] = Counter()
        for region, title, number in zip(tally.region, tally.title, tally.number, strict=True):
            where = "shown" if region == SHOWN else tally.regions[region]
            total[where, names[int(tally.titles[title])]] += int(number)
        return dict(total)


async def test_watches_count_by_the_country_of_the_profile() -> None:
    world = World()
    await world.store.put_settings(ProfileKey("anna", "main"), ProfileSettings(country="NL"))
    await world.watch("anna", "t1")
    await world.watch("bert", "t1")
    await world.follower().step()
    assert await world.counts() == {("NL", "t1"): 1, ("", "t1"): 1}
    noted = await world.store.noted(TALLY)
    assert noted is not None
    facts = msgspec.json.decode(noted, type=TallyFacts)
    assert (facts.version, facts.at_s, facts.n_rows) == (1, NOW_S, 2)


async def test_what_is_no_watch_is_not_counted() -> None:
    world = World()
    for n, action in enumerate((Action.IMPRESSION, Action.CLICK, Action.LIKE, Action.SEARCH, Action.HIDE)):
        await world.watch(f"u{n}", "t1", action)
    await world.watch("a", "t2", Action.PROGRESS, progress=0.02)
    await world.watch("b", "t2", Action.RATE, value=1.0)
    await world.watch("c", "t3", Action.RATE, value=5.0)
    await world.watch("d", "t3", Action.COMPLETE)
    await world.follower().step()
    assert await world.counts() == {("", "t3"): 2}


async def test_a_profile_that_does_not_consent_is_not_counted() -> None:
    world = World()
    await world.store.put_settings(ProfileKey("anna", "main"), ProfileSettings(consent=False))
    await world.watch("anna", "t1")
    await world.watch("bert", "t1")
    await world.store.log_slates([("r", ProfileKey("anna", "main"), slate("anna", [0], consent=False))])
    await world.follower().step()
    assert await world.counts() == {("", "t1"): 1}


def slate(user_id: str, items: list[int], bundle_id: str = "b", *, consent: bool = True) -> bytes:
    settings = ProfileSettings(consent=consent)
    return encode_slate(SlateServed(f"r-{user_id}", user_id, "main", NOW_S, bundle_id, "homepage", "f", settings, items=items))


async def test_new_titles_count_to_whom_they_were_shown() -> None:
    world = World()
    served = [("anna", [0, 5, 1]), ("anna", [0, 0]), ("bert", [0, 7])]
    blobs = [(f"r{n}", ProfileKey(user_id, "main"), slate(user_id, items)) for n, (user_id, items) in enumerate(served)]
    await world.store.log_slates([*blobs, ("r9", ProfileKey("cora", "main"), slate("cora", [0], "gone"))])
    await world.follower().step()
    assert await world.counts() == {("shown", "t0"): 2, ("shown", "t1"): 1}


async def test_a_flood_of_many_profiles_of_one_account_counts_once() -> None:
    world = World()
    for n in range(300):
        await world.watch("villain", "t1", profile_id=f"p{n}")
    follower = world.follower()
    while await follower.step():
        pass
    assert await world.counts() == {("", "t1"): 1}


async def test_more_than_fits_one_step_is_counted_in_several() -> None:
    world = World()
    for n in range(450):
        await world.watch(f"u{n}", "t1")
    follower = world.follower()
    assert await follower.step()
    while await follower.step():
        pass
    assert await world.counts() == {("", "t1"): 450}


async def test_nothing_new_makes_no_version_until_a_minute_has_passed() -> None:
    world = World()
    follower = world.follower()
    await world.watch("anna", "t1")
    await follower.step()
    await follower.step()
    assert await world.store.versions(TALLY).newest() == 1
    world.now_s += 60
    await follower.step()
    assert await world.store.versions(TALLY).newest() == 2


_CALLS = ("entries", "slates", "read", "publish", "begin", "note")


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("after", [False, True])
async def test_whatever_is_killed_before_or_after_any_call_each_account_counts_once(
    call: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    for round_ in range(4):
        for n in range(12):
            await world.watch(f"u{n}", f"t{(n + round_) % 10}", at_s=NOW_S - 900 * (3 - round_))
        follower = world.follower()
        with monkeypatch.context() as patch:
            dying(patch, world, follower, call, after)
            with pytest.raises(Killed):
                await follower.step()
    await world.follower().step()
    expected: dict[tuple[str, str], int] = Counter(("", f"t{(n + round_) % 10}") for n in range(12) for round_ in range(4))
    assert await world.counts() == expected


def dying(patch: pytest.MonkeyPatch, world: World, follower: Follower, call: str, after: bool) -> None:
    owner: Any = {"publish": MemoryVersions, "begin": type(follower._group)}.get(call, MemoryStore)
    real: Callable[..., Any] = getattr(owner, call)
    n_calls = 0

    async def killed(self: Any, *about: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        # The first beginning is that of the start, the second follows a publication.
        if call == "begin" and n_calls == 1:
            return await real(self, *about)
        if after:
            await real(self, *about)
        raise Killed

    patch.setattr(owner, call, killed)


async def test_of_two_followers_the_one_that_comes_second_goes_on_from_what_the_first_made() -> None:
    world = World()
    one, other = world.follower(), world.follower()
    for n in range(30):
        await world.watch(f"u{n}", "t1")
        await (one, other)[n % 2].step()
    while await one.step() or await other.step():
        pass
    assert await world.counts() == {("", "t1"): 30}


async def test_the_log_is_not_trimmed_beyond_what_is_published() -> None:
    world = World()
    follower = world.follower()
    await world.watch("anna", "t1")
    await follower.step()
    await world.watch("bert", "t1")
    for shard in range(4):
        entries = await world.store.entries(shard, "", 10)
        if entries:
            await world.store.trim(shard, entries[-1].position)
    await follower.step()
    assert await world.counts() == {("", "t1"): 2}
    for shard in range(4):
        entries = await world.store.entries(shard, "", 10)
        if entries:
            await world.store.trim(shard, entries[-1].position)
    assert not [entry for shard in range(4) for entry in await world.store.entries(shard, "", 10)]


async def test_a_version_that_cannot_be_read_is_followed_by_one_that_counts_anew() -> None:
    world = World()
    await world.watch("anna", "t1")
    assert await world.store.versions(TALLY).publish(Version(1, b"of another format"), b"?", 3)
    await world.follower().step()
    assert await world.counts() == {("", "t1"): 1}
    assert await world.store.versions(TALLY).newest() == 2


@pytest.mark.parametrize("call", ["read", "slates"])
async def test_a_store_that_fails_costs_a_step_and_no_event(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    follower = world.follower()
    await follower.step()
    await world.watch("anna", "t1")
    with monkeypatch.context() as patch:

        async def silent(*about: Any) -> Any:
            raise StoreError("nobody answers")

        patch.setattr(world.store, call, silent)
        with pytest.raises(StoreError):
            await follower.step()
    await world.watch("bert", "t1")
    await follower.step()
    assert await world.counts() == {("", "t1"): 2}

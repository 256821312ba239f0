"""Publishing while events arrive, are sunk and trimmed, and profiles are erased: each acknowledged event once in its state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recray.catalog.titles import words as packed
from recray.data.publish import Publisher
from recray.data.tail import Tail
from recray.errors import StoreError
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import TITLES, Action, Event, ProfileKey, ProfileSettings
from recray.serving.sink import Sink
from recray.settings import resolve
from recray.stores.event_log import settle_profile
from recray.stores.lake import Lake
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival

NOON_S = 1_700_000_000
N_TITLES = 50
SETTINGS = resolve({"store": {"n_shards": 2}, "sink": {"merge_parts": 2}})
KEYS = [ProfileKey(f"u{n}", "main") for n in range(4)]
NUMBER_OF = {f"t{n}": n for n in range(N_TITLES)}


def arrival(n: int) -> Arrival:
    """Event n; of each profile far more than fit into the recent window, so that a repeat would show in its counters."""
    key, title, at_s = KEYS[n % len(KEYS)], n % N_TITLES, NOON_S + 11 * n
    word = fold.pack(np.array([at_s]), np.array([title]), np.array([Action.PLAY]), np.array([0]), np.array([0]))[0]
    return Arrival(Event(f"e{n}", key.user_id, key.profile_id, f"t{title}", Action.PLAY, at_s), int(word), at_s)


@dataclass
class World:
    lake: Lake
    store: MemoryStore
    n_sent: int = 0
    n_sinks: int = 0

    async def send(self, n: int, *, settle: bool = True) -> None:
        await self.store.append([arrival(k) for k in range(self.n_sent, self.n_sent + n)])
        self.n_sent += n
        for key in KEYS if settle else ():
            assert await settle_profile(self.store, key)

    async def sink(self) -> None:
        self.n_sinks += 1
        await Sink(self.store, self.lake, "tiny", SETTINGS, member=f"s{self.n_sinks}", now_s=lambda: NOON_S + 1e6).drain()

    def folded(self) -> dict[ProfileKey, tuple[bytes, ProfileSettings]]:
        """What training folds from the lake as it is now."""
        events = self.lake.events("tiny")
        words, _ = packed(events, NUMBER_OF)
        owner = np.array(events["user_id"].to_pylist())
        return {key: (fold.encode(fold.fold(ProfileState(), words[owner == key.user_id])), ProfileSettings(country="US"))
                for key in KEYS}  # fmt: skip

    def publisher(self) -> Publisher:
        snapshot = self.lake.snapshot("tiny")
        tail = Tail(self.lake, "tiny", snapshot, NUMBER_OF, self.store)
        return Publisher(self.store, tail, self.lake.sunk("tiny"), snapshot.erased)

    async def holds_everything_once(self) -> None:
        for row, key in enumerate(KEYS):
            words = np.array([arrival(n).word for n in range(row, self.n_sent, len(KEYS))], np.uint64)
            (record,) = await self.store.read([key])
            assert fold.encode(record.folded()) == fold.encode(fold.fold(ProfileState(), words))


@pytest.fixture
def world(tmp_path: Path) -> World:
    lake = Lake(tmp_path / "lake")
    ids = list(NUMBER_OF)
    columns = {"content_id": ids, "name": ids, "kind": ["movie"] * N_TITLES, "genres": [["Drama"]] * N_TITLES}
    lake.write("tiny", {"titles": pa.table({n: pa.array(v, TITLES.field(n).type) for n, v in columns.items()})}, {})
    return World(lake, MemoryStore(SETTINGS.store, lambda: float(NOON_S)))


async def test_state_folded_online_equals_state_folded_from_the_lake(world: World) -> None:
    await world.send(1_200)
    await world.sink()
    offline = world.folded()
    for key, record in zip(KEYS, await world.store.read(KEYS), strict=True):
        assert record.state == offline[key][0]
    await world.holds_everything_once()


@pytest.mark.parametrize("settle", [True, False])
@pytest.mark.parametrize("sunk_meanwhile", [True, False])
async def test_events_after_the_snapshot_are_in_the_published_state_once(
    world: World, *, settle: bool, sunk_meanwhile: bool
) -> None:
    await world.send(1_000, settle=settle)
    await world.sink()
    publisher, folded = world.publisher(), world.folded()
    for _ in range(3):
        await world.send(400, settle=settle)
        if sunk_meanwhile:
            await world.sink()
    await world.send(100, settle=settle)
    assert await publisher.write(folded) == len(KEYS)
    await world.holds_everything_once()
    assert [record.settings.country for record in await world.store.read(KEYS)] == ["US"] * len(KEYS)


def before(store: MemoryStore, name: str, act: Callable[[], Awaitable[None]], times: int, patch: pytest.MonkeyPatch) -> None:
    """Let something happen right before the first calls of a method."""
    method, left = getattr(store, name), times

    async def preceded(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            await act()
        return await method(*args)

    patch.setattr(store, name, preceded)


@pytest.mark.parametrize("step", ["read", "entries", "load", "erasures"])
async def test_events_that_arrive_at_any_step_of_publishing_are_counted_once(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.send(1_000)
    await world.sink()
    publisher, folded = world.publisher(), world.folded()
    await world.send(300)

    async def act() -> None:
        monkeypatch.undo()
        await world.send(401, settle=True)
        await world.sink()
        await world.send(100, settle=False)
        before(world.store, step, act, int(world.n_sent < 4_000), monkeypatch)

    before(world.store, step, act, 1, monkeypatch)
    await publisher.write(folded)
    monkeypatch.undo()
    assert world.n_sent > 1_800
    await world.holds_everything_once()


async def test_publishing_that_was_interrupted_is_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.send(1_000)
    await world.sink()
    await world.send(100)
    publisher, folded = world.publisher(), world.folded()
    assert await publisher.write({key: folded[key] for key in KEYS[:2]}) == 2
    await world.send(500)
    await world.sink()
    await world.holds_everything_once()
    assert await world.publisher().write(world.folded()) == len(KEYS)
    await world.holds_everything_once()


async def test_profile_erased_after_the_snapshot_is_not_brought_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.send(1_000)
    await world.sink()
    publisher, folded = world.publisher(), world.folded()
    await world.store.erase(KEYS[0])

    async def act() -> None:
        await world.store.erase(KEYS[1])
        await world.store.erase(ProfileKey("never", "seen"))

    before(world.store, "load", act, 1, monkeypatch)
    never = {ProfileKey("never", "seen"): (fold.encode(ProfileState()), ProfileSettings(country="US"))}
    await publisher.write(folded | never)
    records = await world.store.read([*KEYS, ProfileKey("never", "seen")])
    assert [bool(record.version) for record in records] == [False, False, True, True, False]


async def test_what_an_erased_profile_did_since_is_kept(world: World) -> None:
    await world.send(1_000)
    await world.sink()
    publisher, folded = world.publisher(), world.folded()
    await world.store.erase(KEYS[0])
    late = arrival(4_000)
    await world.store.append([late])
    await publisher.write(folded)
    assert (await world.store.read(KEYS[:1]))[0].folded().recent.tolist() == [late.word]
    await world.sink()
    await world.publisher().write(world.folded())
    assert (await world.store.read(KEYS[:1]))[0].folded().recent.tolist() == [late.word]


async def test_profile_that_never_stands_still_is_an_error_that_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.send(8)
    publisher, folded = world.publisher(), world.folded()

    async def act() -> None:
        await world.send(4)

    before(world.store, "load", act, 1_000, monkeypatch)
    with pytest.raises(StoreError, match="changed 50 times while it was published"):
        await publisher.write(folded)
    monkeypatch.undo()
    await world.holds_everything_once()

"""Reused answers: never another profile's, never older than the profile's last change, one computation for all at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.errors import StoreError, UnknownTitleError
from recray.experiments.assign import Experiments
from recray.features import fold
from recray.pages.answer import Written
from recray.schema import Action, Event, ProfileKey, ProfileSettings
from recray.serving.asking import Asked
from recray.serving.cache import Bounds, ResponseCache
from recray.serving.copies import Copies
from recray.serving.counters import Counters
from recray.serving.naming import Naming
from recray.serving.reply import Reply
from recray.settings import SlateSettings, StoreSettings
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival, Found, Keeping, Wanted

TTL_S = 300
NOON_S = 1_700_000_000


class Store(MemoryStore):
    """Others get their turn before and after it acts, as with a server; it can be told to be silent."""

    silent = False

    async def look_up(self, wanted: Sequence[Wanted], ttl_s: int) -> list[Found]:
        await asyncio.sleep(0)
        if self.silent:
            raise StoreError("did not answer")
        found = await super().look_up(wanted, ttl_s)
        await asyncio.sleep(0)
        return found

    async def keep(self, answers: Sequence[Keeping], most_bytes: int) -> list[bool]:
        await asyncio.sleep(0)
        if self.silent:
            raise StoreError("did not answer")
        return await super().keep(answers, most_bytes)


@dataclass
class World:
    """A store, a clock, and a service whose answers tell whose they are and how often that profile had changed by then."""

    at_s: int = NOON_S
    changes: Counter[ProfileKey] = field(default_factory=Counter)
    made: list[Asked] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Queue[Asked] = field(default_factory=asyncio.Queue)
    shut: bool = False
    bundle: str = "b1"
    n_ids: int = 0

    def __post_init__(self) -> None:
        self.store = Store(StoreSettings(n_shards=2), lambda: float(self.at_s))

    def new_id(self) -> str:
        self.n_ids += 1
        return f"id-{self.n_ids}"

    def replica(self, l1_bytes: int = 2**20, **slate: Any) -> "Replica":
        items = SimpleNamespace(available_from_s=np.empty((0, 0), np.int64), available_until_s=np.empty((0, 0), np.int64))
        shelf = SimpleNamespace(named=lambda name: SimpleNamespace(id=self.bundle, items=items))
        parts: Any = SimpleNamespace(experiments=Experiments(()), shelf=shelf, slate=SlateSettings(**slate))
        counters, copies, bounds = Counters(), Copies(l1_bytes, TTL_S), Bounds(TTL_S, 10_000)
        cache = ResponseCache(Naming(parts, "c"), self.store, copies, bounds, counters, lambda: self.at_s, self.new_id)
        return Replica(self, cache)

    async def make(self, asked: Asked) -> Written:
        key = ProfileKey(asked.user_id, asked.profile_id)
        self.made.append(asked)
        self.begun.put_nowait(asked)
        await asyncio.sleep(0)
        told = {"user_id": asked.user_id, "profile_id": asked.profile_id, "changes": self.changes[key], "page": asked.page}
        answer = told | {"n_items": asked.n_items, "bundle": self.bundle, "recommendation_id": self.new_id()}
        await asyncio.sleep(0)
        if self.shut:
            await self.gate.wait()
        if self.fails:
            raise self.fails.pop(0)
        body = orjson.dumps(answer | {"degraded": list(self.degraded)})
        return Written(str(answer["recommendation_id"]), not self.degraded, body)

    async def act(self, key: ProfileKey, what: str) -> None:
        """Change a profile; it has changed once this returns."""
        match what:
            case "erase":
                await self.store.erase(key)
            case "settings":
                await self.store.put_settings(key, ProfileSettings())
            case "load":
                await self.store.load([(key, b"", ProfileSettings())])
            case _:
                at_s = NOON_S + self.changes[key]
                word = fold.pack(*(np.array([value]) for value in (at_s, 7, int(Action.PLAY), 0, 0)))
                event = Event(f"e-{self.new_id()}", key.user_id, key.profile_id, "tt7", Action.PLAY, at_s)
                await self.store.append([Arrival(event, int(word[0]), at_s)])
        self.changes[key] += 1


@dataclass
class Replica:
    """One gateway's cache."""

    world: World
    cache: ResponseCache

    async def ask(self, user_id: str = "anna", page: str = "homepage", n_items: int = 20) -> tuple[str | None, dict[str, Any]]:
        """Where the answer came from, and what it says; what goes on behind it is over."""
        reply = await self.reply(user_id, page, n_items)
        await self.cache.drain()
        return reply.level, read(reply)

    async def reply(self, user_id: str = "anna", page: str = "homepage", n_items: int = 20) -> Reply:
        return await self.cache.reply(Asked(page, user_id, "main", n_items=n_items), self.world.make)

    def counted(self, name: str, **labels: str) -> float:
        return self.cache.counters.registry.get_sample_value(name, labels) or 0.0


def read(reply: Reply) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(reply.body())
    return body


ANNA = ProfileKey("anna", "main")


async def test_answer_is_made_once_and_then_comes_from_the_replica_or_the_store() -> None:
    world = World()
    one, other = world.replica(), world.replica()
    first = await one.ask()
    assert first[0] == "miss"
    assert await one.ask() == ("l1", first[1])
    assert await other.ask() == ("l2", first[1])
    assert await other.ask() == ("l1", first[1])
    assert len(world.made) == 1
    assert [one.counted("recray_response_cache_total", level=level) for level in ("l1", "l2", "miss")] == [1, 0, 1]
    assert one.counted("recray_requests_total", page="homepage", status="ok") == 1
    assert one.counted("recray_response_cache_l1_bytes") == one.cache.copies.n_bytes > 0
    assert one.counted("recray_response_cache_kept_bytes_total") > 0


@pytest.mark.parametrize("what", ["event", "settings", "load", "erase"])
async def test_change_of_a_profile_makes_the_next_answer_fresh_on_every_replica(what: str) -> None:
    world = World()
    replicas = [world.replica() for _ in range(3)]
    for replica in replicas:
        await replica.ask()
    await world.act(ANNA, what)
    found = [await replica.ask() for replica in replicas]
    assert [level for level, _ in found] == ["miss", "l2", "l2"]
    assert [body["changes"] for _, body in found] == [1, 1, 1]


async def test_other_profiles_keep_their_answers_when_one_changes() -> None:
    world = World()
    replica = world.replica()
    await replica.ask("anna")
    await replica.ask("ben")
    await world.act(ANNA, "event")
    assert (await replica.ask("ben"))[0] == "l1"


async def test_erased_profile_that_grows_to_the_same_version_gets_nothing_from_before() -> None:
    world = World()
    one, other = world.replica(), world.replica()
    await world.act(ANNA, "event")
    before = [(await replica.ask())[1] for replica in (one, other)]
    await world.act(ANNA, "erase")
    await world.act(ANNA, "event")
    assert (await world.store.read([ANNA]))[0].version == 1
    after = [await other.ask(), await one.ask()]
    assert [level for level, _ in after] == ["miss", "l2"]
    assert all(body["changes"] == 3 and body not in before for _, body in after)


async def test_answer_that_was_being_made_when_its_profile_changed_is_not_kept() -> None:
    world = World(shut=True)
    replica = world.replica()
    asking = asyncio.ensure_future(replica.reply())
    await world.begun.get()
    await world.act(ANNA, "event")
    world.gate.set()
    assert read(await asking)["changes"] <= 1
    await replica.cache.drain()
    assert (await replica.ask())[0] == "miss"


async def test_answer_of_a_bundle_that_took_over_meanwhile_is_not_kept_under_the_old_ones_name() -> None:
    world = World(shut=True)
    replica = world.replica()
    asking = asyncio.ensure_future(replica.reply())
    await world.begun.get()
    world.bundle = "b2"
    world.gate.set()
    await asking
    await replica.cache.drain()
    world.bundle = "b1"
    assert (await replica.ask())[0] == "miss"


async def test_answers_end_with_their_time_in_the_replica_and_in_the_store() -> None:
    world = World()
    one, other = world.replica(), world.replica()
    await one.ask()
    world.at_s += TTL_S - 1
    assert (await one.ask())[0] == "l1"
    assert (await one.reply()).age_s == TTL_S - 1
    world.at_s += 1
    assert [(await replica.ask())[0] for replica in (one, other)] == ["miss", "l2"]


async def test_degraded_answer_is_not_kept() -> None:
    world = World(degraded=["rank"])
    replica = world.replica()
    assert (await replica.reply()).recommendation_id is None
    assert [(await replica.ask())[0] for _ in range(2)] == ["miss", "miss"]
    world.degraded.clear()
    assert [(await replica.ask())[0] for _ in range(2)] == ["miss", "l1"]


async def test_slate_that_is_drawn_at_random_is_drawn_anew_each_time() -> None:
    world = World()
    replica = world.replica(exploration=0.1)
    assert [(await replica.ask())[0] for _ in range(2)] == ["miss", "miss"]
    assert len(world.made) == 2
    assert replica.counted("recray_response_cache_total", level="passed") == 2


async def test_nothing_is_reused_while_the_store_is_silent_and_it_is_not_waited_for_each_time() -> None:
    world = World()
    replica = world.replica()
    await replica.ask()
    world.store.silent = True
    assert (await replica.ask())[0] == "miss"
    world.store.silent = False
    assert (await replica.ask())[0] == "miss"
    world.at_s += 2
    assert (await replica.ask())[0] == "l1"


async def test_answer_is_given_even_when_it_cannot_be_kept() -> None:
    world = World(shut=True)
    replica = world.replica()
    asking = asyncio.ensure_future(replica.reply())
    await world.begun.get()
    world.store.silent = True
    world.gate.set()
    assert read(await asking)["user_id"] == "anna"
    await replica.cache.drain()


async def test_those_who_ask_alike_at_once_share_one_computation() -> None:
    world = World()
    replica = world.replica()
    replies = await asyncio.gather(*(replica.reply() for _ in range(10)), *(replica.reply("ben") for _ in range(5)))
    assert len(world.made) == 2
    assert [read(reply)["user_id"] for reply in replies] == ["anna"] * 10 + ["ben"] * 5
    assert len({read(reply)["recommendation_id"] for reply in replies}) == 2


async def test_those_who_join_a_computation_are_counted() -> None:
    world = World(shut=True)
    replica = world.replica()
    callers = [asyncio.ensure_future(replica.reply()) for _ in range(4)]
    for _ in range(50):
        await asyncio.sleep(0)
    world.gate.set()
    assert {read(reply)["recommendation_id"] for reply in await asyncio.gather(*callers)} == {"id-5"}
    assert replica.counted("recray_response_cache_joined_total") == 3
    assert replica.counted("recray_requests_total", page="homepage", status="ok") == 3


async def test_who_asks_after_a_change_does_not_join_a_computation_from_before_it() -> None:
    world = World(shut=True)
    replica = world.replica()
    early = asyncio.ensure_future(replica.reply())
    await world.begun.get()
    await world.act(ANNA, "event")
    late = asyncio.ensure_future(replica.reply())
    await world.begun.get()
    world.gate.set()
    assert read(await late)["changes"] == 1
    await early


async def test_failure_is_its_own_callers_and_the_others_try_by_themselves() -> None:
    world = World(fails=[UnknownTitleError("not in the catalogue")], shut=True)
    replica = world.replica()
    callers = [asyncio.ensure_future(replica.reply()) for _ in range(4)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(world.made) == 1
    world.gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnknownTitleError, Reply, Reply, Reply]
    assert len(world.made) == 4
    assert replica.cache._flights == {}


async def test_caller_who_leaves_takes_nobody_else_with_him() -> None:
    world = World(shut=True)
    replica = world.replica()
    callers = [asyncio.ensure_future(replica.reply()) for _ in range(3)]
    await world.begun.get()
    callers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    world.gate.set()
    assert [read(await caller)["user_id"] for caller in callers[1:]] == ["anna"] * 2
    assert len(world.made) == 1
    await replica.cache.drain()
    assert (await replica.ask())[0] == "l1"


async def test_answer_that_cannot_be_read_is_made_anew() -> None:
    world = World()
    await world.replica().ask()
    for held in world.store._kept.values():
        held.blobs.update(dict.fromkeys(held.blobs, b"\xc1 from another version"))
    assert (await world.replica().ask())[0] == "miss"


steps = st.lists(
    st.tuples(
        st.sampled_from(["ask"] * 5 + ["event", "settings", "load", "erase", "wait"]),
        st.sampled_from(["anna", "ben", "anna/", "be"]),
        st.integers(0, 2),
        st.sampled_from([1, 20]),
        st.integers(0, 6),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.sampled_from([600, 3_000, 2**20]))
def test_whatever_goes_on_an_answer_is_the_profiles_own_and_knows_every_change_before_it_was_asked_for(
    script: list[tuple[str, str, int, int, int]], l1_bytes: int
) -> None:
    async def play() -> None:
        world = World()
        replicas = [world.replica(l1_bytes) for _ in range(3)]

        async def step(what: str, user_id: str, replica: int, n_items: int, delay: int) -> None:
            for _ in range(delay):
                await asyncio.sleep(0)
            key = ProfileKey(user_id, "main")
            if what == "wait":
                world.at_s += 97
            elif what != "ask":
                await world.act(key, what)
            else:
                before, asked_at_s = world.changes[key], world.at_s
                body = read(await replicas[replica].reply(user_id, n_items=n_items))
                assert (body["user_id"], body["n_items"]) == (user_id, n_items)
                assert before <= body["changes"] <= world.changes[key]
                assert asked_at_s <= world.at_s

        for start in range(0, len(script), 8):
            await asyncio.gather(*(step(*one) for one in script[start : start + 8]))
        for replica in replicas:
            await replica.cache.drain()
            assert replica.cache._flights == {}

    asyncio.run(play())

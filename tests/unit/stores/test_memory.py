from dataclasses import dataclass

import pytest

from recray.schema import Action, Event, ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores.event_log import SlateServed, encode_slate, settle_profile
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival, Found, Keeping, Verdict, Wanted

ANNA = ProfileKey("anna", "main")
SENT = Arrival(
    Event("e1", "anna", "main", "tt7", Action.PLAY, 1_700_000_000),
    (1_700_000_000 << 32) | (7 << 12) | (Action.PLAY << 8),
    1_700_000_001,
)


@dataclass
class Clock:
    at_s: float = 100.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(StoreSettings(n_shards=1, dedup_ttl_s=60, record_ttl_s=30, slates_max_length=4), clock)


async def test_event_is_a_duplicate_until_the_dedup_ttl_ends(store: MemoryStore, clock: Clock) -> None:
    assert await store.append([SENT]) == [Verdict.ACCEPTED]
    clock.at_s += 59
    assert await store.append([SENT]) == [Verdict.DUPLICATE]
    clock.at_s += 1
    assert await store.append([SENT]) == [Verdict.ACCEPTED]


async def test_slate_is_readable_until_its_ttl_ends(store: MemoryStore, clock: Clock) -> None:
    await store.log_slates([("r1", ANNA, b"old")])
    clock.at_s += 20
    await store.log_slates([("r1", ANNA, b"new"), ("r2", ANNA, b"two")])
    clock.at_s += 29
    assert [await store.slate(name) for name in ("r1", "r2")] == [b"new", b"two"]
    clock.at_s += 1
    assert [await store.slate(name) for name in ("r1", "r2")] == [None, None]


async def test_full_slate_log_forgets_the_oldest_but_not_their_records(store: MemoryStore) -> None:
    served = [SlateServed(f"r{n}", "anna", "main", n, "b", "homepage", "f", ProfileSettings()) for n in range(6)]
    await store.log_slates([(slate.recommendation_id, ANNA, encode_slate(slate)) for slate in served])
    assert [blob for _, blob in await store.slates(0, "", 10)] == [encode_slate(slate) for slate in served[2:]]
    assert await store.slate("r0") == encode_slate(served[0])
    assert len((await store.export(ANNA))["slates"]) == 6
    assert (await store.erase(ANNA))["slates"] == 6


async def test_answers_of_a_profile_end_together_when_their_lease_does(store: MemoryStore, clock: Clock) -> None:
    first, second = (Wanted(ANNA, bytes([n]) * 32, b"L1") for n in range(2))
    assert await store.look_up([first], 300) == [Found(b"L1", None)]
    assert await store.keep([Keeping(ANNA, first.name, b"L1", b"one")], 100) == [True]
    clock.at_s += 299
    assert await store.keep([Keeping(ANNA, second.name, b"L1", b"two")], 100) == [True]
    assert await store.look_up([Wanted(ANNA, first.name, b"L2")], 300) == [Found(b"L1", b"one")]
    clock.at_s += 1
    assert await store.keep([Keeping(ANNA, first.name, b"L1", b"late")], 100) == [False]
    assert await store.look_up([Wanted(ANNA, second.name, b"L2", b"L1")], 300) == [Found(b"L2", None)]
    assert (await store.export(ANNA))["kept_answers"] == []


async def test_short_lease_ends_although_a_longer_one_was_given_before_it(store: MemoryStore, clock: Clock) -> None:
    await store.look_up([Wanted(ProfileKey("ben", "main"), b"n" * 32, b"L1")], 300)
    await store.look_up([Wanted(ANNA, b"n" * 32, b"L2")], 10)
    clock.at_s += 10
    assert await store.look_up([Wanted(ANNA, b"n" * 32, b"L3")], 10) == [Found(b"L3", None)]


class Contended(MemoryStore):
    """Another writer settles first, `n` times."""

    n = 0

    async def settle(self, key: ProfileKey, state: bytes, n_folded_bytes: int, generation: int) -> bool:
        if self.n:
            self.n -= 1
            await super().settle(key, state, 0, generation)
        return await super().settle(key, state, n_folded_bytes, generation)


@pytest.mark.parametrize(("n_others", "settled"), [(4, True), (5, False)])
async def test_settling_gives_up_after_as_many_attempts_as_allowed(clock: Clock, n_others: int, settled: bool) -> None:
    store = Contended(StoreSettings(), clock)
    await store.append([SENT])
    store.n = n_others
    assert await settle_profile(store, ANNA, attempts=5) is settled
    (record,) = await store.read([ANNA])
    assert record.folded().recent.tolist() == [SENT.word]
    assert bool(record.inbox) is not settled

"""States folded as events arrive beside states folded from whole lists afterwards, byte by byte.

A set is replayed event by event: the state is read, one event folded in, and written, as a store does it. Random lists take
the whole way through a store: shuffled, with repeats, in batches, folded now and then.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from recray.data.states import state_of
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import Action, Device, Event, ProfileKey, Words
from recray.settings import StoreSettings
from recray.stores.event_log import settle_profile
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival, OnlineStore, ProfileRecord

_NAMED: Final = 20
_SAY_EVERY: Final = 100_000
_PER_STORE: Final = 1_000
"""Lists that share a store: it keeps every event in memory."""
_NOW_S: Final = 1_800_000_000
_SPAN_S: Final = 300 * 86_400
_SIZES: Final = ((0, 60), (190, 330))
"""Short lists, and those that pass what a state keeps with its time."""
_SHORT_SHARE: Final = 0.7
_MOST_BATCH: Final = 90
_REPEATED: Final = 0.2
Say = Callable[[str], None]


def one_by_one(words: Words) -> bytes:
    """The state of a profile whose packed events [n] uint64 arrive in this order, each folded before the next."""
    state = b""
    for word in words.tolist():
        state = fold.encode(ProfileRecord(state=state, inbox=word.to_bytes(8, "little")).folded())
    return state or fold.encode(ProfileState())


def replayed(words: Mapping[ProfileKey, Words], say: Say) -> dict[str, Any]:
    """Every profile's events in their order: `events`, `profiles`, `mismatches`, the first `mismatched`, `seconds`."""
    began_s, n_events, wrong = time.perf_counter(), 0, []
    for key, own in words.items():
        if one_by_one(own) != state_of(own):
            wrong.append(str(key))
        if (n_events + own.size) // _SAY_EVERY > n_events // _SAY_EVERY:
            say(f"{n_events + own.size:,} events replayed, {len(wrong)} profiles differ")
        n_events += own.size
    return _facts(began_s, wrong) | {"events": n_events, "profiles": len(words)}


async def lists(n: int, seed: int, say: Say) -> dict[str, Any]:
    """Random lists through a store in memory: `lists`, `arrivals` with repeats, `mismatches`, `mismatched`, `seconds`."""
    began_s, n_arrivals, wrong = time.perf_counter(), 0, []
    for start in range(0, n, _PER_STORE):
        store = MemoryStore(StoreSettings(), now=lambda: float(_NOW_S))
        for number in range(start, min(start + _PER_STORE, n)):
            rng, key = np.random.default_rng([seed, number]), ProfileKey(f"list-{number}", "main")
            events = _drawn(rng)
            arriving = _arriving(key, events, rng)
            n_arrivals += len(arriving)
            if await _stored(store, key, arriving, rng) != state_of(events):
                wrong.append(str(key))
        if (start + _PER_STORE) % (10 * _PER_STORE) == 0:
            say(f"{start + _PER_STORE:,} lists, {len(wrong)} differ")
    return _facts(began_s, wrong) | {"lists": n, "arrivals": n_arrivals, "seed": seed}


def _facts(began_s: float, wrong: list[str]) -> dict[str, Any]:
    return {"mismatches": len(wrong), "mismatched": wrong[:_NAMED], "seconds": round(time.perf_counter() - began_s, 1)}


def _drawn(rng: np.random.Generator) -> Words:
    """Distinct packed events of one profile, of all actions; some of the same second."""
    low, high = _SIZES[int(rng.random() >= _SHORT_SHARE)]
    n = int(rng.integers(low, high))
    at_s = _NOW_S - rng.integers(0, _SPAN_S, n)
    again = rng.random(n) < _REPEATED
    at_s[again] = at_s[rng.integers(0, n, int(again.sum()))] if n else at_s[again]
    item, action, device, value = (rng.integers(0, bound, n).astype(np.int32) for bound in (500, len(Action), len(Device), 64))
    return np.unique(fold.pack(at_s, item, action, device, value))


def _arriving(key: ProfileKey, events: Words, rng: np.random.Generator) -> list[Arrival]:
    """The events in a random order; some come again, under their own id or another."""
    n_again = int(events.size * _REPEATED)
    order = np.concatenate((np.arange(events.size), rng.integers(0, max(events.size, 1), n_again)))
    arrivals = []
    for place in rng.permutation(order).tolist():
        word = int(events[place])
        name = f"{place}-{int(rng.random() < _REPEATED)}"
        fact = Event(name, key.user_id, key.profile_id, "", Action(word >> 8 & 0xF), word >> 32)
        arrivals.append(Arrival(fact, word, _NOW_S))
    return arrivals


async def _stored(store: OnlineStore, key: ProfileKey, arriving: list[Arrival], rng: np.random.Generator) -> bytes:
    """The state as the store holds it when the last batch is folded."""
    start = 0
    while start < len(arriving):
        size = int(rng.integers(1, _MOST_BATCH))
        await store.append(arriving[start : start + size])
        start += size
        if rng.random() < 0.5:
            await settle_profile(store, key)
    await settle_profile(store, key)
    (record,) = await store.read([key])
    return record.state or fold.encode(ProfileState())

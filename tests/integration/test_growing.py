"""A store gets more shards while it is written, read, sunk and erased from: nothing is lost, twice, or out of its order."""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grow_process import grow
from recray.errors import ConfigError
from recray.features import fold
from recray.schema import Action, ProfileKey, ProfileSettings
from recray.serving.sink import Sink
from recray.settings import StoreSettings, resolve
from recray.stores import scripts_moving
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import SlateServed, digest, encode_slate, settle_profile, shard_of
from recray.stores.growing import _begun
from recray.stores.kept import encode_kept, packed_answer
from recray.stores.lake import Lake
from recray.stores.online import Keeping, OnlineStore, ProfileRecord, Verdict, Wanted
from recray.stores.redis import RedisStore
from recray.stores.sunk import Batch
from sent_events import KEYS, Sender, arrival, folded, sending, titles_in
from valkey_cluster import started

SETTINGS = StoreSettings(n_shards=4, timeout_s=5.0)
N_KILLS = 6
_PROCESSES = multiprocessing.get_context("forkserver")
# What needs it, not grow_process itself: a module that is not on its own path the server skips without a word.
_PROCESSES.set_forkserver_preload(["recray.stores.redis"])


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedStore.start(tmp_path_factory.mktemp("home")) as server:
        yield server.url


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("cluster")) as running:
        yield running.url


@pytest.fixture(params=["embedded", "cluster"])
async def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    store = RedisStore(found, SETTINGS)
    await store._server.ask_everywhere(("FLUSHALL",))
    await store.close()
    return found


def client(url: str) -> RedisStore:
    store = open_store(SETTINGS, url)
    assert isinstance(store, RedisStore)
    return store


async def grown(store: RedisStore, n_shards: int) -> None:
    await store.grow(n_shards, lambda _: None)


async def killed_and_grown(url: str, n_shards: int, rng: np.random.Generator) -> int:
    """Grow in processes that are killed at random moments, until one of them is done; returns how many were killed."""
    for n_killed in range(N_KILLS + 1):
        process = _PROCESSES.Process(target=grow, args=(url, n_shards))
        process.start()
        if n_killed < N_KILLS:
            # Every order of magnitude alike: a fast machine has grown the store in a tenth of a second.
            await asyncio.to_thread(process.join, np.exp(rng.uniform(*np.log((0.005, 0.25)))))
            if process.is_alive():
                process.kill()
                process.join()
                continue
        await asyncio.to_thread(process.join, 120)
        assert process.exitcode == 0
        return n_killed
    raise AssertionError("the last process was not to be killed")


@asynccontextmanager
async def sinking(store: OnlineStore, home: Path, max_rows: int = 20_000) -> AsyncIterator[tuple[Lake, list[Batch]]]:
    """A sink at work; its batches in the order they were committed. At the end, all that is logged is in the lake."""
    lake, batches = titles_in(home / "lake"), list[Batch]()
    settings = resolve({
        "home": str(home), "store": {"n_shards": 4},
        "sink": {"max_rows": max_rows, "max_age_s": 0.02, "poll_s": 0.01, "claim_idle_s": 5.0},
    })  # fmt: skip
    sink, over = Sink(store, lake, "tiny", settings, member="one", now_s=lambda: time.time_ns() / 1e9), asyncio.Event()
    commit = sink._sunk.commit

    def noted(batch: Batch) -> bool:
        done = commit(batch)
        if done:
            batches.append(batch)
        return done

    sink._sunk.commit = noted  # type: ignore[method-assign]
    running = asyncio.create_task(sink.run(over))
    try:
        yield lake, batches
    finally:
        over.set()
        await running
        await store.close()


def in_the_order_they_were_sent(batches: list[Batch]) -> bool:
    """Whether each profile's events were carried over in the order in which they were acknowledged."""
    last: dict[str, int] = {}
    for batch in batches:
        for user_id, event_id in zip(*(batch.rows[name].to_pylist() for name in ("user_id", "event_id")), strict=True):
            if int(event_id[1:]) <= last.get(user_id, -1):
                return False
            last[user_id] = int(event_id[1:])
    return True


async def reading(store: OnlineStore, sender: Sender) -> int:
    """Read profiles while they are written: what is acknowledged is there, whole, in every answer."""
    n_read = 0
    while not sender.stop:
        n_sent = sender.n_acknowledged
        for row, record in enumerate(await store.read(KEYS)):
            state = record.folded()
            n_held = int(state.recent.size + state.counters[: len(Action)].sum())
            assert n_held >= len(range(row, n_sent, len(KEYS)))
        n_read += 1
        await asyncio.sleep(0.002)
    return n_read


async def test_growing_under_writers_readers_and_a_sink_with_kills_loses_repeats_and_reorders_nothing(
    url: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(20261123)
    stores = [client(url) for _ in range(3)]
    n_killed = 0
    async with sinking(client(url), tmp_path) as (lake, batches):
        async with sending(*stores[:2]) as sender:
            readers = asyncio.create_task(reading(stores[2], sender))
            await sender.sent(400)
            for n_shards in (8, 16, 32):
                n_killed += await killed_and_grown(url, n_shards, rng)
                await sender.sent(200)
                for key in KEYS[::7]:
                    assert await settle_profile(stores[0], key)
        assert await readers > 10
    assert n_killed > N_KILLS // 2
    assert sender.n_refused == 0
    assert [await store.n_shards() for store in stores] == [32] * 3
    assert Counter(lake.events("tiny")["event_id"].to_pylist()) == Counter(f"e{n}" for n in range(sender.n_acknowledged))
    assert in_the_order_they_were_sent(batches)
    shards = {shard_of(key, count) for key in KEYS for count in (4, 8, 16, 32)}
    assert {int(log.rpartition("/")[2]) for batch in batches for log in batch.through} == shards
    for row, record in enumerate(await stores[2].read(KEYS)):
        assert fold.encode(record.folded()) == folded(row, sender.n_acknowledged)
    await repeats_are_still_known(stores[2], sender.n_acknowledged)
    await only_places_of_the_last_layout(stores[2])
    for store in stores:
        await store.close()


async def repeats_are_still_known(store: OnlineStore, n_sent: int) -> None:
    for start in range(0, n_sent, 1_000):
        sent = [arrival(n) for n in range(start, min(start + 1_000, n_sent))]
        assert set(await store.append(sent)) == {Verdict.DUPLICATE}


async def only_places_of_the_last_layout(store: RedisStore) -> None:
    """No profile and no dedup mark is left in a shard where nobody looks for it."""
    n_shards = await store.n_shards()
    async for keys in store._server.scan():
        for key in keys:
            tag, _, rest = key.partition(b"}")
            if rest[:2] == b"p:":
                user_id, profile_id = rest[2:].decode().split("/")
                assert tag == b"{s%d" % shard_of(ProfileKey(user_id, profile_id), n_shards)
            elif rest[:2] in {b"d:", b"w:"}:
                assert tag == b"{s%d" % (int.from_bytes(rest[2:10], "big") % n_shards)


async def test_repeat_is_known_while_marks_are_still_in_the_shard_that_their_profile_left(url: str) -> None:
    store, other = client(url), client(url)
    sent = [arrival(n) for n in range(200)]
    assert await store.append(sent) == [Verdict.ACCEPTED] * 200
    await begun(other, 8)
    assert await store.append(sent) == [Verdict.DUPLICATE] * 200
    assert await store.append([*sent[:60], arrival(200)]) == [Verdict.DUPLICATE] * 60 + [Verdict.ACCEPTED]
    await grown(other, 8)
    assert await store.append(sent) == [Verdict.DUPLICATE] * 200
    await store.close()
    await other.close()


@pytest.mark.parametrize("max_rows", [48, 20_000])
async def test_sink_that_comes_late_takes_what_profiles_left_behind_before_what_they_did_since(
    url: str, tmp_path: Path, max_rows: int
) -> None:
    store = client(url)
    for n_shards, n_sent in ((4, 0), (8, 400), (16, 600)):
        await grown(store, n_shards)
        await store.append([arrival(n) for n in range(n_sent, n_sent + 400 if not n_sent else n_sent + 200)])
    async with sinking(client(url), tmp_path, max_rows=max_rows) as (lake, batches):
        pass
    assert len(batches) > 2
    assert in_the_order_they_were_sent(batches)
    assert Counter(lake.events("tiny")["event_id"].to_pylist()) == Counter(f"e{n}" for n in range(800))
    await store.close()


async def test_all_that_is_held_of_a_profile_comes_along(url: str) -> None:
    before, after = client(url), client(url)
    leaving = next(key for key in KEYS if shard_of(key, 8) >= 4)
    await before.append([arrival(KEYS.index(leaving))])
    await before.put_settings(leaving, ProfileSettings("FR", "fr", "25-34", 12))
    slate = SlateServed("r1", leaving.user_id, leaving.profile_id, 0, "b", "homepage", "f", ProfileSettings())
    await before.log_slates([("r1", leaving, encode_slate(slate))])
    (held,) = await before.look_up([Wanted(leaving, b"n" * 32, b"old")], 300)
    assert await before.keep([Keeping(leaving, b"n" * 32, held.lease, encode_kept(packed_answer("r1", 0, b"{}")))], 1_000) == [
        True
    ]
    (record,), told = await before.read([leaving]), await before.export(leaving) | {"kept_answers": []}
    await grown(after, 8)
    assert await after.read([leaving]) == await before.read([leaving]) == [record]
    assert await after.export(leaving) == told
    assert (await before.look_up([Wanted(leaving, b"n" * 32, b"new", held.lease)], 300))[0].blob is None
    assert await after.settle(leaving, b"state", len(record.inbox), record.generation)
    assert (await before.read([leaving]))[0].state == b"state"
    await before.close()
    await after.close()


async def test_profile_erased_while_the_store_grows_or_after_leaves_no_trace_and_does_not_come_back(url: str) -> None:
    before, after = client(url), client(url)
    first, second = [key for key in KEYS if shard_of(key, 8) >= 4][:2]
    for key in (first, second):
        await before.append([arrival(KEYS.index(key) + turn * len(KEYS)) for turn in range(3)])
        slate = SlateServed(f"r-{key.user_id}", key.user_id, key.profile_id, 0, "b", "homepage", "f", ProfileSettings())
        await before.log_slates([(f"r-{key.user_id}", key, encode_slate(slate))])
    await begun(after, 8)
    assert await before.erase(first) == {"profiles": 1, "events": 3, "slates": 1, "answers": 0, "marks": 6}
    await grown(after, 8)
    assert await before.erase(second) == {"profiles": 1, "events": 3, "slates": 1, "answers": 0, "marks": 6}
    assert await after.read([first, second]) == [ProfileRecord(), ProfileRecord()]
    held = b"".join([key async for keys in after._server.scan() for key in keys])
    assert first.user_id.encode() + b"/" not in held
    assert second.user_id.encode() + b"/" not in held
    for key in (first, second):
        assert digest(key)[:8] not in held
    assert len(await after.erasures()) == 2
    assert await before.append([arrival(KEYS.index(first))]) == [Verdict.ACCEPTED]
    await before.close()
    await after.close()


async def begun(store: RedisStore, n_shards: int) -> None:
    """As a process leaves the store that is killed right after it told all shards."""
    await _begun(store._known, n_shards)
    await store._known.catch_up(range(n_shards))


async def test_mover_that_slept_through_an_erasure_brings_nothing_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = client(url), client(url)
    key = next(key for key in KEYS if shard_of(key, 8) >= 4)
    await store.append([arrival(KEYS.index(key))])
    await begun(store, 8)
    ask_placed = store._server.ask_placed

    async def interrupted(calls: Any, then: Any = ()) -> Any:
        if calls and calls[0][1] == scripts_moving.ADOPT.sha:
            monkeypatch.undo()
            assert (await other.erase(key))["profiles"] == 1
        return await ask_placed(calls, then)

    monkeypatch.setattr(store._server, "ask_placed", interrupted)
    assert await store.read([key]) == [ProfileRecord()]
    await grown(other, 8)
    assert await other.read([key]) == [ProfileRecord()]
    await store.close()
    await other.close()


async def test_what_an_erased_profile_does_in_its_new_shard_is_seen_in_the_lake(url: str, tmp_path: Path) -> None:
    store = client(url)
    key = next(key for key in KEYS if shard_of(key, 8) >= 4)
    row = KEYS.index(key)
    async with sinking(client(url), tmp_path) as (lake, _):
        await store.append([arrival(row)])
        await store.erase(key)
        await grown(store, 8)
        await store.append([arrival(row + len(KEYS))])
    assert lake.events("tiny")["event_id"].to_pylist() == [f"e{row + len(KEYS)}"]
    await store.close()


async def test_number_that_is_no_multiple_is_refused_and_the_same_number_is_nothing_to_do(url: str) -> None:
    store = client(url)
    for n_shards in (6, 2):
        with pytest.raises(ConfigError, match=f"has 4 shards and shall have {n_shards}; expected a multiple, such as 8"):
            await grown(store, n_shards)
    await grown(store, 4)
    await begun(store, 12)
    with pytest.raises(ConfigError, match="is growing to 12 shards; expected to finish that before it grows to 24"):
        await grown(store, 24)
    await grown(store, 12)
    assert await store.n_shards() == 12
    await store.close()

"""Publications: killed and gone on with, seen whole by readers, taken back, and free of who was erased."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from publish_process import give
from recray.data.publish import finish_publishing, roll_back
from recray.errors import DataError
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import PROFILES, ProfileKey, ProfileSettings
from recray.serving.sink import Sink
from recray.settings import StoreSettings, resolve
from recray.stores import publications
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import settle_profile
from recray.stores.lake import Lake
from recray.stores.online import ProfileRecord
from recray.stores.privacy import erase_profile
from recray.stores.publications import Applied, Origin, Publication, Publications
from recray.stores.redis import RedisStore
from sent_events import KEYS, arrival, folded, titles_in

N_PROFILES = 3_000
SETTINGS = StoreSettings(n_shards=4, timeout_s=10.0)
NOTHING = fold.encode(ProfileState())
OTHERS = [ProfileKey(f"v{n}", "main") for n in range(N_PROFILES)]
_PROCESSES = multiprocessing.get_context("forkserver")
# What needs it, not publish_process itself: a module that is not on its own path the server skips without a word.
_PROCESSES.set_forkserver_preload(["recray.data.publish"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedStore.start(tmp_path_factory.mktemp("home")) as server:
        yield server.url


@pytest.fixture
async def store(url: str) -> RedisStore:
    opened = RedisStore(url, SETTINGS)
    await opened._server.ask_everywhere(("FLUSHALL",))
    return opened


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(publications, "_GROUP", 200)
    return titles_in(tmp_path / "lake")


def states(keys: list[ProfileKey], of: list[bytes]) -> pa.Table:
    return pa.table(
        {"user_id": [k.user_id for k in keys], "profile_id": [k.profile_id for k in keys], "state": pa.array(of, pa.binary())}
    )


def people(keys: list[ProfileKey], country: str) -> pa.Table:
    columns = {
        "user_id": [k.user_id for k in keys],
        "profile_id": [k.profile_id for k in keys],
        "country": [country] * len(keys),
    }
    return pa.table({f.name: pa.array(columns.get(f.name, [None] * len(keys)), f.type) for f in PROFILES})


def watched(n: int) -> bytes:
    """A state that tells which publication it is of."""
    words = fold.pack(np.arange(3) + 1_600_000_000, np.full(3, n), np.full(3, 2), np.zeros(3, int), np.zeros(3, int))
    return fold.encode(fold.fold(ProfileState(), words))


def archived(lake: Lake, state: bytes, country: str, keys: list[ProfileKey]) -> Publication:
    """A publication of one state and one country for all, of which nothing is given to a store yet."""
    there = lake.snapshot("tiny")
    origin = Origin(there.through, tuple(there.sunk), there.erased.until)
    return Publications(lake.root, "tiny").archive(origin, [states(keys, [state] * len(keys))], people(keys, country), NOTHING)


def wanted(lake: Lake, made: Publication) -> None:
    """Note that a publication is to be given to the store, as `publish` does before the first profile."""
    kept = Publications(lake.root, "tiny")
    kept.note(Applied("", made.number, kept.applied().current, 0, is_done=False))


async def given(lake: Lake, url: str, made: Publication) -> None:
    wanted(lake, made)
    await asyncio.to_thread(finish_publishing, lake, "tiny", RedisStore(url, SETTINGS))


async def held(store: RedisStore, keys: list[ProfileKey]) -> set[tuple[bytes, str | None]]:
    return {(record.state, record.settings.country) for record in await store.read(keys)}


@pytest.mark.parametrize("back", [False, True])
async def test_publishing_that_is_killed_goes_on_and_readers_see_each_profile_old_or_new(
    store: RedisStore, lake: Lake, url: str, *, back: bool
) -> None:
    old, new = (watched(1), "NL"), (watched(2), "US")
    await given(lake, url, archived(lake, *old, OTHERS))
    made = archived(lake, *new, OTHERS)
    if back:
        await given(lake, url, made)
        old, new = new, old
    else:
        wanted(lake, made)
    seen: set[tuple[bytes, str | None]] = set()
    kept, n_killed = Publications(lake.root, "tiny"), 0
    rng, begins = np.random.default_rng(5), back
    while begins or not kept.applied().is_done:
        process = _PROCESSES.Process(target=give, args=(str(lake.root), url), kwargs={"back": begins})
        process.start()
        until_s = time.monotonic() + (rng.uniform(0.05, 0.3) if n_killed < 4 else 60.0)
        before = kept.applied()
        while process.is_alive() and (time.monotonic() < until_s or kept.applied() == before):
            seen |= await held(store, OTHERS)
            await asyncio.sleep(0.001)
        n_killed += process.is_alive()
        process.kill()
        process.join()
        begins = False
    assert n_killed > 0
    assert seen <= {old, new}
    assert await held(store, OTHERS) == {new}
    assert kept.applied().is_done
    await store.close()


async def test_going_on_writes_only_what_is_left(store: RedisStore, lake: Lake, url: str) -> None:
    made = archived(lake, watched(1), "NL", OTHERS)
    log_id = await store.log_id()
    Publications(lake.root, "tiny").note(Applied(log_id, made.number, 0, made.n_groups - 2, is_done=False))
    assert await asyncio.to_thread(finish_publishing, lake, "tiny", RedisStore(url, SETTINGS)) == 400
    assert await asyncio.to_thread(finish_publishing, lake, "tiny", RedisStore(url, SETTINGS)) == 0
    await store.close()


async def test_rolled_back_profiles_have_the_state_before_and_all_that_was_done_since(
    store: RedisStore, lake: Lake, url: str
) -> None:
    await given(lake, url, archived(lake, NOTHING, "NL", KEYS))
    await given(lake, url, archived(lake, watched(39), "US", [*KEYS, *OTHERS[:5]]))
    await store.append([arrival(n) for n in range(300)])
    await Sink(store, lake, "tiny", resolve({"home": str(lake.root.parent)}), member="s", now_s=lambda: 1.8e9).drain()
    await store.append([arrival(n) for n in range(300, 600)])
    await asyncio.to_thread(roll_back, lake, "tiny", RedisStore(url, SETTINGS))
    for row, record in enumerate(await store.read(KEYS)):
        assert record.settings.country == "NL"
        assert fold.encode(record.folded()) == folded(row, 600)
    assert await held(store, OTHERS[:5]) == {(NOTHING, None)}
    await asyncio.to_thread(roll_back, lake, "tiny", RedisStore(url, SETTINGS))
    assert await held(store, OTHERS[:5]) == {(watched(39), "US")}
    await store.close()


async def test_there_is_nothing_to_roll_back_to_after_the_first_or_during_a_publication(
    store: RedisStore, lake: Lake, url: str
) -> None:
    made = archived(lake, watched(1), "NL", OTHERS[:10])
    wanted(lake, made)
    with pytest.raises(DataError, match="publication 1 of tiny is not finished; expected one that followed another"):
        roll_back(lake, "tiny", store)
    await given(lake, url, made)
    with pytest.raises(DataError, match="publication 1 of tiny has none before it; expected one that followed another"):
        roll_back(lake, "tiny", store)
    await store.close()


async def test_second_publisher_is_refused_while_one_is_at_work(store: RedisStore, lake: Lake) -> None:
    with Publications(lake.root, "tiny").alone(), pytest.raises(DataError, match="tiny is being published by another process"):
        finish_publishing(lake, "tiny", store)
    await store.close()


async def test_erased_profile_leaves_the_publications_and_no_rollback_brings_it_back(
    store: RedisStore, lake: Lake, url: str
) -> None:
    for n in (1, 2):
        await given(lake, url, archived(lake, watched(n), "NL", OTHERS[:300]))
    await erase_profile(store, lake, "tiny", OTHERS[7])
    assert await store.read([OTHERS[7]]) == [ProfileRecord()]
    lake.sunk("tiny").upkeep(1_800_000_000, 16, 0, 0.0)
    kept = Publications(lake.root, "tiny")
    for number in (1, 2):
        rows = pa.concat_tables(kept.groups(kept.publication(number), 0))
        assert rows.num_rows == 299
        assert OTHERS[7].user_id not in rows["user_id"].to_pylist()
    await asyncio.to_thread(roll_back, lake, "tiny", RedisStore(url, SETTINGS))
    assert await held(store, [*OTHERS[:7], *OTHERS[8:300]]) == {(watched(1), "NL")}
    assert await store.read([OTHERS[7]]) == [ProfileRecord()]
    await store.close()


async def test_profiles_without_events_get_their_settings_and_those_that_were_put_stay(
    store: RedisStore, lake: Lake, url: str
) -> None:
    await store.put_settings(OTHERS[1], ProfileSettings(country="FR"))
    kept, there = Publications(lake.root, "tiny"), lake.snapshot("tiny")
    origin = Origin(there.through, tuple(there.sunk), there.erased.until)
    made = kept.archive(origin, [states(OTHERS[:2], [watched(1)] * 2)], people(OTHERS[1:4], "NL"), NOTHING)
    await given(lake, url, made)
    assert [(r.state, r.settings.country) for r in await store.read(OTHERS[:4])] == [
        (watched(1), None), (watched(1), "FR"), (NOTHING, "NL"), (NOTHING, "NL"),
    ]  # fmt: skip
    assert await settle_profile(store, OTHERS[0])
    await store.close()

"""The promises of `OnlineStore`, held against every store."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import redis.asyncio

from recray.errors import StoreError
from recray.features import fold
from recray.schema import Action, Event, ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores import event_log
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import SlateServed, encode_slate, settle_profile, shard_of
from recray.stores.kept import encode_kept, packed_answer
from recray.stores.log_group import LogGroup, order
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival, Found, Keeping, OnlineStore, ProfileRecord, Verdict, Wanted
from recray.stores.redis import RedisStore
from recray.stores.versions import Version
from valkey_cluster import ValkeyCluster, started

SETTINGS = StoreSettings(n_shards=4, timeout_s=5.0)
ANNA = ProfileKey("anna", "main")
NOON_S = 1_700_000_000
_AWKWARD_IDS = (
    ("a/b", "c"),
    ("a", "b/c"),
    ("a%2Fb", "c"),
    ("{s0}", "}{"),
    ("Zoë 猫 \n\x00", " "),
    ("", ""),
    ("a", ""),
    ("", "a"),
)
AWKWARD = [ProfileKey(*ids) for ids in _AWKWARD_IDS]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.start(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with started(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OnlineStore]:
    if request.param == "memory":
        yield MemoryStore(SETTINGS, lambda: 0.0)
        return
    if request.param == "redis":
        url = request.getfixturevalue("valkey").url
        async with redis.asyncio.Redis.from_url(url) as client:
            await client.flushall()
    else:
        running = request.getfixturevalue("cluster")
        running.flush()
        url = running.url
    opened = RedisStore(url, SETTINGS)
    yield opened
    await opened.close()


def arrival(
    key: ProfileKey = ANNA, item: int = 7, at_s: int = NOON_S, action: Action = Action.PLAY, event_id: str | None = None
) -> Arrival:
    packed = fold.pack(np.array([at_s]), np.array([item]), np.array([action]), np.array([0]), np.array([0]))
    event = Event(event_id or f"e-{item}-{at_s}-{action}", key.user_id, key.profile_id, f"tt{item}", action, at_s, progress=0.5)
    return Arrival(event, int(packed[0]), at_s + 1)


def slate_of(key: ProfileKey, recommendation_id: str) -> SlateServed:
    return SlateServed(
        recommendation_id, key.user_id, key.profile_id, NOON_S, "20261122T101500-3fa2b1", "homepage", "f00d", ProfileSettings()
    )


async def logged(store: OnlineStore, key: ProfileKey = ANNA) -> list[dict[str, Any]]:
    return [entry for _, entry in await store.events(shard_of(key, SETTINGS.n_shards), "", 10_000)]


async def everything(store: OnlineStore) -> bytes:
    if isinstance(store, MemoryStore):
        return repr(vars(store)).encode()
    assert isinstance(store, RedisStore)
    client = store._server._client
    held = []
    async for key in client.scan_iter(count=1_000):
        held += [key, await client.dump(key) or b""]
        if await client.type(key) == b"stream":
            held.append(repr(await client.xrange(key)).encode())
    return b"\n".join(held)


async def test_unknown_profile_reads_as_empty_record(store: OnlineStore) -> None:
    assert await store.read([ANNA, ProfileKey("who", "ever")]) == [ProfileRecord(), ProfileRecord()]
    assert await store.read([]) == []


async def test_appended_event_is_in_the_next_read(store: OnlineStore) -> None:
    sent = arrival()
    assert await store.append([sent]) == [Verdict.ACCEPTED]
    (record,) = await store.read([ANNA])
    assert record.folded().recent.tolist() == [sent.word]
    assert record.version == 1
    assert await logged(store) == [event_log.facts(sent)]


async def test_verdicts_are_in_the_order_of_the_arrivals(store: OnlineStore) -> None:
    keys = [ProfileKey(f"u{n}", "main") for n in range(40)]
    await store.append([arrival(key) for key in keys[::3]])
    verdicts = await store.append([arrival(key) for key in keys])
    assert [verdict is Verdict.DUPLICATE for verdict in verdicts] == [n % 3 == 0 for n in range(40)]
    assert await store.append([]) == []
    assert 0.0 <= await store.ping() < 5.0


async def test_repeated_event_id_is_a_duplicate_even_with_other_facts(store: OnlineStore) -> None:
    again = arrival(item=8, event_id="same")
    assert await store.append([arrival(event_id="same"), again]) == [Verdict.ACCEPTED, Verdict.DUPLICATE]
    assert await store.append([again]) == [Verdict.DUPLICATE]
    assert len(await logged(store)) == 1
    assert (await store.read([ANNA]))[0].version == 1


async def test_repeated_packed_event_is_a_duplicate_even_with_another_id(store: OnlineStore) -> None:
    await store.append([arrival(event_id="first")])
    assert await store.append([arrival(event_id="second")]) == [Verdict.DUPLICATE]
    assert await store.append([arrival(item=9, event_id="second")]) == [Verdict.ACCEPTED]


async def test_event_of_one_profile_does_not_hide_the_same_event_of_another(store: OnlineStore) -> None:
    twins = [arrival(ProfileKey(f"u{n}", "main"), event_id="same") for n in range(20)]
    assert await store.append(twins) == [Verdict.ACCEPTED] * 20


async def test_impression_is_logged_and_leaves_the_profile_as_it_is(store: OnlineStore) -> None:
    seen = arrival(action=Action.IMPRESSION)
    assert await store.append([seen, seen]) == [Verdict.ACCEPTED, Verdict.DUPLICATE]
    assert await store.read([ANNA]) == [ProfileRecord()]
    assert [entry["action"] for entry in await logged(store)] == ["impression"]


async def test_settling_keeps_the_folded_state_and_empties_the_inbox(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(5)])
    (before,) = await store.read([ANNA])
    assert await settle_profile(store, ANNA)
    (after,) = await store.read([ANNA])
    assert (after.inbox, after.generation, after.version) == (b"", 1, 5)
    assert after.state == fold.encode(before.folded())


async def test_settle_with_an_old_generation_changes_nothing(store: OnlineStore) -> None:
    await store.append([arrival()])
    (record,) = await store.read([ANNA])
    assert await store.settle(ANNA, b"first", 8, 0)
    assert not await store.settle(ANNA, b"second", 0, 0)
    assert not await store.settle(ANNA, b"third", 0, 2)
    (after,) = await store.read([ANNA])
    assert (after.state, after.generation, after.version) == (b"first", 1, record.version)


async def test_event_that_arrives_between_read_and_settle_survives(store: OnlineStore) -> None:
    await store.append([arrival(item=1)])
    (record,) = await store.read([ANNA])
    late = arrival(item=2)
    await store.append([late])
    assert await store.settle(ANNA, fold.encode(record.folded()), len(record.inbox), record.generation)
    (after,) = await store.read([ANNA])
    assert after.inbox == late.word.to_bytes(8, "little")
    assert set(after.folded().recent.tolist()) == {arrival(item=1).word, late.word}


async def test_settle_after_an_erasure_does_not_bring_the_profile_back(store: OnlineStore) -> None:
    await store.append([arrival()])
    (record,) = await store.read([ANNA])
    await store.erase(ANNA)
    assert not await store.settle(ANNA, fold.encode(record.folded()), len(record.inbox), record.generation)
    assert await store.read([ANNA]) == [ProfileRecord()]


async def test_concurrent_appends_and_settlements_lose_nothing(store: OnlineStore) -> None:
    sent = [arrival(item=item, at_s=NOON_S + item) for item in range(120)]
    appends = [store.append(sent[start : start + 3]) for start in range(0, 120, 3)]
    settlements = [settle_profile(store, ANNA) for _ in range(20)]
    done = await asyncio.gather(*appends, *settlements)
    assert all(verdicts == [Verdict.ACCEPTED] * 3 for verdicts in done[:40])
    (record,) = await store.read([ANNA])
    assert record.folded().recent.tolist() == [one.word for one in sent]
    assert record.version == 120
    assert len(await logged(store)) == 120


async def test_concurrent_repeats_are_accepted_once(store: OnlineStore) -> None:
    verdicts = await asyncio.gather(*(store.append([arrival()]) for _ in range(30)))
    assert sum(verdict == [Verdict.ACCEPTED] for verdict in verdicts) == 1
    assert len((await store.read([ANNA]))[0].inbox) == 8


async def test_version_only_rises(store: OnlineStore) -> None:
    seen = [0]
    for step in range(4):
        await store.append([arrival(item=step)])
        seen.append((await store.read([ANNA]))[0].version)
        seen.append(await store.put_settings(ANNA, ProfileSettings(country="FR")))
        await store.load([(ANNA, b"", ProfileSettings())])
        seen.append((await store.read([ANNA]))[0].version)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("settings", [ProfileSettings(), ProfileSettings("ÅX", "sv", "18-24", 0, consent=False)])
async def test_settings_come_back_as_they_were_put(store: OnlineStore, settings: ProfileSettings) -> None:
    await store.put_settings(ANNA, ProfileSettings("US", "en", "35-44", 18))
    version = await store.put_settings(ANNA, settings)
    assert await store.read([ANNA]) == [ProfileRecord(settings=settings, version=version)]


async def test_load_replaces_state_and_settings_and_leaves_the_inbox(store: OnlineStore) -> None:
    pending = arrival()
    await store.append([pending])
    keys = [ANNA, *(ProfileKey(f"u{n}", "main") for n in range(2_500))]
    await store.load([(key, b"state of %d" % n, ProfileSettings(country=str(n))) for n, key in enumerate(keys)])
    records = await store.read(keys)
    assert [record.state for record in records] == [b"state of %d" % n for n in range(2_501)]
    assert [record.settings.country for record in records] == [str(n) for n in range(2_501)]
    assert records[0].inbox == pending.word.to_bytes(8, "little")
    assert not await store.settle(ANNA, b"folded from what was there before", 8, 0)


async def test_thousand_profiles_are_read_in_the_order_asked(store: OnlineStore) -> None:
    keys = [ProfileKey(f"u{n}", f"p{n % 7}") for n in range(1_000)]
    await store.append([arrival(key, item=n) for n, key in enumerate(keys)])
    records = await store.read([*reversed(keys), keys[0]])
    assert [int(fold.items(record.folded().recent)[0]) for record in records] == [*reversed(range(1_000)), 0]


async def test_awkward_ids_stay_apart(store: OnlineStore) -> None:
    await store.append([arrival(key, item=n) for n, key in enumerate(AWKWARD)])
    for n, key in enumerate(AWKWARD):
        await store.put_settings(key, ProfileSettings(country=str(n)))
        await store.log_slates([(f"r {n}/é", key, encode_slate(slate_of(key, f"r {n}/é")))])
    records = await store.read(AWKWARD)
    assert [record.settings.country for record in records] == [str(n) for n in range(len(AWKWARD))]
    assert [fold.items(record.folded().recent).tolist() for record in records] == [[n] for n in range(len(AWKWARD))]
    for n, key in enumerate(AWKWARD):
        told = await store.export(key)
        assert [event["content_id"] for event in told["events"]] == [f"tt{n}"]
        assert [slate["recommendation_id"] for slate in told["slates"]] == [f"r {n}/é"]
    await store.erase(AWKWARD[0])
    assert (await store.read(AWKWARD))[1:] == records[1:]


async def test_log_is_read_on_from_a_position_without_gap_or_repeat(store: OnlineStore) -> None:
    sent = [arrival(item=item, at_s=NOON_S + item) for item in range(25)]
    await store.append(sent)
    shard, read, after = shard_of(ANNA, SETTINGS.n_shards), [], ""
    for _ in range(3):
        page = await store.events(shard, after, 10)
        read += [entry for _, entry in page]
        after = page[-1][0]
    assert await store.events(shard, after, 10) == []
    assert read == [event_log.facts(one) for one in sent]
    assert await store.events((shard + 1) % SETTINGS.n_shards, "", 10) == []


async def test_trimmed_events_are_gone_and_later_ones_stay(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(10)])
    shard = shard_of(ANNA, SETTINGS.n_shards)
    entries = await store.events(shard, "", 100)
    assert await store.trim(shard, entries[3][0]) == 4
    assert await store.events(shard, "", 100) == entries[4:]
    assert await store.trim(shard, entries[3][0]) == 0
    assert (await store.append([arrival(item=2)])) == [Verdict.DUPLICATE]


async def test_position_that_no_store_gave_is_refused(store: OnlineStore) -> None:
    for position in ("yesterday", "5-x"):
        with pytest.raises(StoreError):
            await store.events(0, position, 10)
        with pytest.raises(StoreError):
            await store.trim(0, position)


async def test_slate_is_found_by_its_id_alone_and_in_its_shard(store: OnlineStore) -> None:
    blobs = {f"r{n}": bytes(range(256)) + b"%d" % n for n in range(3)}
    await store.log_slates([(name, ANNA, blob) for name, blob in blobs.items()])
    assert [await store.slate(name) for name in blobs] == list(blobs.values())
    assert await store.slate("never made") is None
    entries = await store.slates(shard := shard_of(ANNA, SETTINGS.n_shards), "", 10)
    assert [blob for _, blob in entries] == list(blobs.values())
    assert await store.slates(shard, entries[0][0], 1) == [entries[1]]


async def test_export_tells_everything_as_json(store: OnlineStore) -> None:
    await store.put_settings(ANNA, ProfileSettings("US", None, "25-34", 12, genres=("Drama", "Film-Noir")))
    await store.append([arrival(item=1), arrival(item=2)])
    await settle_profile(store, ANNA)
    await store.append([arrival(item=3), arrival(ProfileKey("other", "main"), item=4)])
    await store.log_slates([("r1", ANNA, encode_slate(slate_of(ANNA, "r1")))])
    await keep(store, "L1", blob=encode_kept(packed_answer("r1", NOON_S, b'{"recommendation_id":"r1"}')))
    told = json.loads(json.dumps(await store.export(ANNA)))
    assert told["settings"] == {
        "country": "US",
        "language": None,
        "age_group": "25-34",
        "maturity_limit": 12,
        "consent": True,
        "genres": ["Drama", "Film-Noir"],
    }
    assert [event["title"] for event in told["state"]["recent"]] == [1, 2, 3]
    assert [event["content_id"] for event in told["events"]] == ["tt1", "tt2", "tt3"]
    assert [slate["recommendation_id"] for slate in told["slates"]] == ["r1"]
    assert told["kept_answers"] == [{"recommendation_id": "r1"}]


async def test_erasure_leaves_no_trace_and_others_alone(store: OnlineStore) -> None:
    marker = "Fingerabdruck"
    key, other = ProfileKey(marker, f"{marker}2"), ProfileKey("other", "main")
    for each, name in ((key, marker), (other, "o")):
        await store.put_settings(each, ProfileSettings(country=name))
        await store.append([arrival(each, item=n, event_id=f"{name}-{n}") for n in range(6)])
        await store.log_slates([(f"{name}-r{n}", each, encode_slate(slate_of(each, f"{name}-r{n}"))) for n in range(3)])
    await settle_profile(store, key)
    await keep(store, f"L-{marker}", key=key)
    assert marker.encode() in await everything(store)
    (kept,) = await store.read([other])
    assert await store.erase(key) == {"profiles": 1, "events": 6, "slates": 3, "answers": 1, "marks": 12}
    assert marker.encode() not in await everything(store)
    assert event_log.digest(key).hex() not in (await everything(store)).hex()
    assert await store.slate(f"{marker}-r0") is None
    assert await store.read([key, other]) == [ProfileRecord(), kept]
    assert [len((await store.export(other))[kind]) for kind in ("events", "slates")] == [6, 3]
    assert await store.erase(key) == {"profiles": 0, "events": 0, "slates": 0, "answers": 0, "marks": 0}
    assert await store.append([arrival(key, item=0, event_id=f"{marker}-0")]) == [Verdict.ACCEPTED]


TTL_S = 300
ROOM = 1_000


def named(n: int) -> bytes:
    return b"%032d" % n


async def look_up(store: OnlineStore, lease: str, name: int = 1, key: ProfileKey = ANNA, copy: str = "") -> Found:
    (found,) = await store.look_up([Wanted(key, named(name), lease.encode(), copy.encode())], TTL_S)
    return found


async def keep(store: OnlineStore, lease: str, name: int = 1, key: ProfileKey = ANNA, blob: bytes = b"answer") -> bool:
    """Keep an answer under the lease in force, which is the one given where there was none."""
    (done,) = await store.keep([Keeping(key, named(name), (await look_up(store, lease, name, key)).lease, blob)], ROOM)
    return done


async def test_kept_answer_is_found_by_its_name_under_its_lease(store: OnlineStore) -> None:
    assert await look_up(store, "L1") == Found(b"L1", None)
    assert await store.keep([Keeping(ANNA, named(1), b"L1", b"\x00bytes\xff")], ROOM) == [True]
    assert await look_up(store, "L2") == Found(b"L1", b"\x00bytes\xff")
    assert await look_up(store, "L3", name=2) == Found(b"L1", None)
    assert await look_up(store, "L4", copy="L1") == Found(b"L1", None)
    assert await look_up(store, "L5", copy="L0") == Found(b"L1", b"\x00bytes\xff")
    assert await store.look_up([], TTL_S) == []


async def test_looked_up_answers_are_in_the_order_asked_and_each_of_its_own_profile(store: OnlineStore) -> None:
    for n, key in enumerate(AWKWARD):
        assert await keep(store, f"L{n}", key=key, blob=b"of %d" % n)
    found = await store.look_up([Wanted(key, named(1), b"new") for key in reversed(AWKWARD)], TTL_S)
    assert found == [Found(b"L%d" % n, b"of %d" % n) for n in reversed(range(len(AWKWARD)))]


@pytest.mark.parametrize("change", ["event", "settings", "load", "erase"])
async def test_change_of_a_profile_ends_its_lease_and_what_was_kept_under_it(store: OnlineStore, change: str) -> None:
    other = ProfileKey("other", "main")
    for key in (ANNA, other):
        assert await keep(store, f"L-{key.user_id}", key=key)
    match change:
        case "event":
            await store.append([arrival()])
        case "settings":
            await store.put_settings(ANNA, ProfileSettings(maturity_limit=7))
        case "load":
            await store.load([(ANNA, b"", ProfileSettings())])
        case "erase":
            await store.erase(ANNA)
    assert await store.keep([Keeping(ANNA, named(2), b"L-anna", b"late")], ROOM) == [False]
    assert await look_up(store, "L2", copy="L-anna") == Found(b"L2", None)
    assert await store.keep([Keeping(ANNA, named(1), b"L-anna", b"later")], ROOM) == [False]
    assert await look_up(store, "L3") == Found(b"L2", None)
    assert await look_up(store, "L4", key=other) == Found(b"L-other", b"answer")


async def test_what_changes_no_recommendation_ends_no_lease(store: OnlineStore) -> None:
    await store.append([arrival()])
    assert await keep(store, "L1")
    assert await settle_profile(store, ANNA)
    await store.append([arrival(), arrival(action=Action.IMPRESSION)])
    await store.log_slates([("r1", ANNA, encode_slate(slate_of(ANNA, "r1")))])
    assert await look_up(store, "L2") == Found(b"L1", b"answer")


async def test_answer_from_before_an_erasure_never_comes_back_however_the_versions_run(store: OnlineStore) -> None:
    sent = [arrival(item=item) for item in range(2)]
    await store.append(sent)
    assert await keep(store, "before", name=1)
    await store.erase(ANNA)
    await store.append(sent)
    assert (await store.read([ANNA]))[0].version == 2
    assert await store.keep([Keeping(ANNA, named(2), b"before", b"made from what was erased")], ROOM) == [False]
    for name in (1, 2):
        assert await look_up(store, "after", name, copy="before") == Found(b"after", None)


async def test_answer_of_a_profile_that_the_store_does_not_know_goes_with_its_erasure_too(store: OnlineStore) -> None:
    assert await keep(store, "L1")
    assert (await store.erase(ANNA))["answers"] == 1
    assert await look_up(store, "L2") == Found(b"L2", None)
    assert await store.read([ANNA]) == [ProfileRecord()]


async def test_first_answer_of_a_name_stays(store: OnlineStore) -> None:
    assert await keep(store, "L1", blob=b"first")
    assert not await keep(store, "L1", blob=b"second")
    assert await look_up(store, "L2") == Found(b"L1", b"first")


async def test_what_is_kept_of_a_profile_stays_within_its_room(store: OnlineStore) -> None:
    assert not await keep(store, "L1", 0, blob=b"x" * (ROOM + 1))
    for n in range(1, 4):
        assert await keep(store, "L1", n, blob=b"%d" % n * (ROOM // 2))
        assert await look_up(store, "L2", n) == Found(b"L1", b"%d" % n * (ROOM // 2))
    assert [(await look_up(store, "L3", n)).blob is not None for n in range(4)] == [False, False, False, True]
    assert await keep(store, "L1", 4, blob=b"4" * (ROOM // 2))
    assert [(await look_up(store, "L3", n)).blob is not None for n in range(5)] == [False, False, False, True, True]


async def test_answers_are_kept_each_for_itself_in_the_order_given(store: OnlineStore) -> None:
    for key in AWKWARD[::2]:
        await look_up(store, "L1", key=key)
    kept = await store.keep([Keeping(key, named(1), b"L1", b"of %d" % n) for n, key in enumerate(AWKWARD)], ROOM)
    assert kept == [n % 2 == 0 for n in range(len(AWKWARD))]
    assert (await look_up(store, "L2", key=AWKWARD[2])).blob == b"of 2"
    assert await store.keep([], ROOM) == []


async def test_concurrent_look_ups_of_a_new_profile_agree_on_one_lease(store: OnlineStore) -> None:
    found = await asyncio.gather(*(look_up(store, f"L{n}") for n in range(20)))
    assert len({one.lease for one in found}) == 1


async def test_conditional_load_writes_only_what_did_not_change_and_takes_the_inbox_with_it(store: OnlineStore) -> None:
    bert = ProfileKey("bert", "main")
    await store.append([arrival(), arrival(bert)])
    versions = [record.version for record in await store.read([ANNA, bert])]
    await store.append([arrival(bert, item=8)])
    new = [(ANNA, b"a", ProfileSettings()), (bert, b"b", ProfileSettings())]
    assert await store.load(new, versions) == [True, False]
    anna, other = await store.read([ANNA, bert])
    assert (anna.state, anna.inbox, anna.version, anna.generation) == (b"a", b"", versions[0] + 1, 1)
    assert (other.state, len(other.inbox), other.version, other.generation) == (b"", 16, versions[1] + 1, 0)
    assert await store.load([(ProfileKey("new", "main"), b"n", ProfileSettings())], [0]) == [True]


async def test_settings_that_were_put_outlast_a_load_until_the_profile_is_erased(store: OnlineStore) -> None:
    mine, imported = ProfileSettings(country="FR"), ProfileSettings(country="US")
    await store.put_settings(ANNA, mine)
    await store.load([(ANNA, b"state", imported)])
    assert (await store.read([ANNA]))[0].settings == mine
    await store.erase(ANNA)
    await store.load([(ANNA, b"state", imported)])
    assert (await store.read([ANNA]))[0].settings == imported


async def test_erasure_is_told_until_the_lake_knows_it_and_covers_only_what_came_before(store: OnlineStore) -> None:
    await store.append([arrival(item=1)])
    await store.erase(ANNA)
    await store.append([arrival(item=2)])
    first = await store.erasures()
    ((mark, (shard, position)),) = first.items()
    assert mark == event_log.erasure_mark(event_log.digest(ANNA))
    assert shard == shard_of(ANNA, SETTINGS.n_shards)
    (entry,) = await store.entries(shard, position, 10)
    assert event_log.decode_event(entry.blob) == arrival(item=2)
    assert entry.profile == event_log.digest(ANNA)
    await store.erase(ANNA)
    await store.forget_erasures(first)
    second = await store.erasures()
    assert second.keys() == first.keys()
    await store.forget_erasures(second)
    assert await store.erasures() == {}


async def test_unreadable_entry_stops_neither_export_nor_erasure(store: OnlineStore) -> None:
    await store.append([arrival(item=1)])
    if isinstance(store, MemoryStore):
        store._events[shard_of(ANNA, SETTINGS.n_shards)].add(ANNA, "bad", b"\xc1")
    else:
        log = f"{{s{shard_of(ANNA, SETTINGS.n_shards)}}}events"
        assert isinstance(store, RedisStore)
        await store._server.ask([("XADD", log, "*", "p", event_log.digest(ANNA), "e", b"\xc1")])
    assert len((await store.export(ANNA))["events"]) == 1
    assert (await store.erase(ANNA))["events"] == 2


async def test_notice_is_read_as_it_was_left_last(store: OnlineStore) -> None:
    assert await store.noted("sink") is None
    await store.note("sink", b"one")
    await store.note("sink", b"two")
    assert await store.noted("sink") == b"two"


async def test_log_has_one_name_for_all_who_ask(store: OnlineStore) -> None:
    assert await store.log_id() == await store.log_id() != ""


def group(store: OnlineStore, member: str, claim_idle_s: float = 600.0, name: str = "sink") -> LogGroup:
    return store.group(name, member, claim_idle_s)


SHARD = shard_of(ANNA, SETTINGS.n_shards)


async def positions(store: OnlineStore) -> list[str]:
    return [entry.position for entry in await store.entries(SHARD, "", 1_000)]


async def test_members_of_a_group_share_the_log_and_hold_what_they_took(store: OnlineStore) -> None:
    sent = [arrival(item=item) for item in range(10)]
    await store.append(sent)
    one, two = group(store, "one"), group(store, "two")
    await one.begin({})
    first, second = await one.take(6), await two.take(6)
    entries = first[SHARD] + second[SHARD]
    assert [event_log.decode_event(entry.blob) for entry in entries] == sent
    assert [len(first[SHARD]), len(second[SHARD]), await two.take(6)] == [6, 4, {}]
    held = (await two.held(100))[SHARD]
    assert [(each.position, each.is_own, each.n_tries) for each in held] == [
        (entry.position, n >= 6, 1) for n, entry in enumerate(entries)
    ]
    assert (await store.lag("sink")).n_entries == 10


async def test_finished_entries_are_forgotten_and_trimmed_up_to_what_others_hold(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(10)])
    one, two = group(store, "one"), group(store, "two")
    await one.begin({})
    mine, others = (await one.take(6))[SHARD], (await two.take(6))[SHARD]
    assert await one.finish({SHARD: mine[3].position}) == 4
    assert [each.position for each in (await one.held(100))[SHARD]] == await positions(store)
    assert await one.finish({SHARD: others[-1].position}) == 6
    assert await one.held(100) == {}
    assert (await store.lag("sink")).n_entries == 0


async def test_log_is_kept_for_the_group_that_is_furthest_behind(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(10)])
    sink, counts = group(store, "one"), group(store, "c", name="counts")
    await sink.begin({})
    await counts.begin({})
    taken = (await sink.take(100))[SHARD]
    assert await sink.finish({SHARD: taken[-1].position}) == 0
    assert await store.trim(SHARD, taken[-1].position) == 0
    await counts.take(4)
    await counts.finish({SHARD: taken[1].position})
    assert await positions(store) == [entry.position for entry in taken[2:]]


async def test_member_that_went_silent_loses_its_entries_to_another(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(5)])
    dead, alive = group(store, "dead"), group(store, "alive", claim_idle_s=0.0)
    await dead.begin({})
    lost = (await dead.take(3))[SHARD]
    taken = (await alive.take(100))[SHARD]
    assert [entry.position for entry in taken] == await positions(store)
    assert taken[:3] == lost
    assert [(each.is_own, each.n_tries) for each in (await alive.held(9))[SHARD]] == [(True, 2)] * 3 + [(True, 1)] * 2


async def test_what_others_left_can_be_taken_without_what_is_new(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(3)])
    dead, alive = group(store, "dead", claim_idle_s=0.0), group(store, "alive", claim_idle_s=0.0)
    await dead.begin({})
    left = (await dead.take(10))[SHARD]
    await store.append([arrival(item=item) for item in range(3, 5)])
    await alive.begin({})
    assert (await alive.take(10, fresh=False))[SHARD] == left
    assert len((await alive.held(10))[SHARD]) == 3


async def test_member_gets_its_own_entries_again_and_counts_its_tries(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(3)])
    member = group(store, "one")
    await member.begin({})
    taken = await member.take(10)
    await member.retry({SHARD: [taken[SHARD][1].position]})
    assert [each.n_tries for each in (await member.held(10))[SHARD]] == [1, 2, 1]
    assert await member.take(10, again=True) == taken


async def test_entry_erased_after_it_was_taken_comes_back_empty(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(2)])
    member = group(store, "one")
    await member.begin({})
    taken = (await member.take(10))[SHARD]
    await store.erase(ANNA)
    again = (await member.take(10, again=True))[SHARD]
    assert [(entry.position, entry.blob) for entry in again] == [(entry.position, b"") for entry in taken]
    await member.finish({SHARD: taken[-1].position})
    assert await member.held(10) == {}


async def test_group_begins_behind_what_is_finished_wherever_it_stood(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(6)])
    listed = await positions(store)
    before = group(store, "before", claim_idle_s=0.0)
    await before.begin({})
    await before.take(5)
    after = group(store, "after", claim_idle_s=0.0)
    await after.begin({SHARD: listed[1]})
    assert {entry.position for entry in (await after.take(100))[SHARD]} == set(listed[2:])


async def test_group_keeps_its_place_while_another_member_is_active(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(6)])
    one, two = group(store, "one"), group(store, "two")
    await one.begin({})
    await one.take(4)
    await two.begin({})
    assert [entry.position for entry in (await two.take(100))[SHARD]] == (await positions(store))[4:]


async def test_positions_sort_as_the_log_does(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(30)])
    listed = await positions(store)
    assert sorted(listed, key=order) == listed


async def test_disbanded_group_holds_the_log_up_no_more(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(3)])
    await store.group("sleeper", "one", 5.0).begin({})
    last = (await positions(store))[-1]
    assert await store.trim(SHARD, last) == 0
    await store.disband("sleeper")
    await store.disband("never there")
    assert await store.trim(SHARD, last) == 3


async def test_begun_group_lets_go_of_what_is_finished_and_of_nothing_else(store: OnlineStore) -> None:
    await store.append([arrival(item=item) for item in range(4)])
    listed = await positions(store)
    reader = store.group("reader", "one", 5.0)
    await reader.begin({SHARD: listed[1]})
    await store.trim(SHARD, listed[3])
    assert await positions(store) == listed[2:]
    await reader.begin({SHARD: listed[3]})
    await store.trim(SHARD, listed[3])
    assert await positions(store) == []


async def test_versions_are_read_by_number_and_the_newest_without(store: OnlineStore) -> None:
    versions = store.versions("v")
    assert await versions.newest() == 0
    assert (await versions.read(0), await versions.read(1), await versions.resume()) == (None, None, None)
    assert await versions.publish(Version(1, b"\x00one\xff"), b"", 5)
    assert await versions.publish(Version(2, b"two"), b"\xffwhere it stood", 5)
    assert await versions.newest() == 2
    assert await versions.read(0) == await versions.read(2) == Version(2, b"two")
    assert await versions.read(1) == Version(1, b"\x00one\xff")
    assert await store.versions("v").resume() == (Version(2, b"two"), b"\xffwhere it stood")


async def test_version_whose_number_does_not_follow_changes_nothing(store: OnlineStore) -> None:
    versions = store.versions("v")
    for number in (0, 2, 7):
        assert not await versions.publish(Version(number, b"gap"), b"gap", 5)
    assert await versions.publish(Version(1, b"one"), b"first", 5)
    assert not await versions.publish(Version(1, b"another"), b"second", 5)
    assert await versions.resume() == (Version(1, b"one"), b"first")


async def test_only_the_last_versions_are_kept_also_when_fewer_are_wanted_later(store: OnlineStore) -> None:
    versions = store.versions("v")
    for number in range(1, 13):
        await versions.publish(Version(number, b"%d" % number), b"", 9)
    assert [number for number in range(1, 13) if await versions.read(number)] == list(range(4, 13))
    await versions.publish(Version(13, b"13"), b"", 2)
    assert [number for number in range(1, 14) if await versions.read(number)] == [12, 13]


async def test_versions_of_two_names_have_nothing_in_common(store: OnlineStore) -> None:
    await store.versions("v").publish(Version(1, b"v"), b"v", 5)
    assert await store.versions("w").newest() == 0
    assert await store.versions("w").publish(Version(1, b"w"), b"w", 5)
    assert await store.versions("v").read(0) == Version(1, b"v")


async def test_of_many_writers_of_one_version_one_succeeds(store: OnlineStore) -> None:
    versions = store.versions("v")
    done = await asyncio.gather(*(versions.publish(Version(1, b"%d" % n), b"%d" % n, 5) for n in range(10)))
    assert sum(done) == 1
    kept = await versions.resume()
    assert kept is not None
    assert kept[0].value == kept[1] == b"%d" % done.index(True)

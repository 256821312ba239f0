"""The RESP store against a real server, and against servers that fail."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
import redis.asyncio

from recray.errors import StoreError
from recray.features import fold
from recray.schema import Action, Event, ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import SlateServed, encode_slate, shard_of
from recray.stores.online import Arrival, Keeping, Verdict, Wanted
from recray.stores.redis import RedisStore

SETTINGS = StoreSettings(n_shards=4, timeout_s=2.0, dedup_ttl_s=500, record_ttl_s=300, slates_max_length=40)
ANNA = ProfileKey("anna", "main")


def arrival(n: int, key: ProfileKey = ANNA) -> Arrival:
    at_s = 1_700_000_000 + n
    packed = fold.pack(np.array([at_s]), np.array([n % 900]), np.array([Action.PLAY]), np.array([0]), np.array([0]))
    return Arrival(Event(f"e{n}", key.user_id, key.profile_id, f"tt{n}", Action.PLAY, at_s), int(packed[0]), at_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.start(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture
async def store(server: EmbeddedStore) -> AsyncIterator[RedisStore]:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.flushall()
    opened = RedisStore(server.url, SETTINGS)
    yield opened
    await opened.close()


async def test_nobody_listening_is_one_clear_error() -> None:
    port = free_port()
    store = open_store(SETTINGS, f"redis://user:hunter2@127.0.0.1:{port}/0")
    message = f"store redis://127.0.0.1:{port}/0 cannot be reached"
    with pytest.raises(StoreError, match=re.escape(message)) as failure:
        await store.read([ANNA])
    assert "hunter2" not in str(failure.value)
    await store.close()


async def test_wrong_password_and_read_only_server_are_store_errors(server: EmbeddedStore, store: RedisStore) -> None:
    intruder = RedisStore(re.sub(":[^:]+@", ":wrong@", server.url), SETTINGS)
    with pytest.raises(StoreError):
        await intruder.ping()
    await store.ping()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match=r"refused: .*memory"):
            await store.append([arrival(1)])
        client.config_set("maxmemory", "0")
    assert await store.append([arrival(1)]) == [Verdict.ACCEPTED]


async def test_silent_server_is_a_store_error_within_the_timeout() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        store = RedisStore(f"redis://127.0.0.1:{port}/0", StoreSettings(timeout_s=0.05))
        message = f"store redis://127.0.0.1:{port}/0 did not answer within 0.05 s"
        async with asyncio.timeout(2.0):
            with pytest.raises(StoreError, match=re.escape(message)):
                await store.read([ANNA])
        await store.close()


async def test_call_after_a_lost_connection_connects_anew(tmp_path: Path) -> None:
    first = EmbeddedStore.start(tmp_path)
    store = RedisStore(first.url, SETTINGS)
    await store.append([arrival(1)])
    with redis.Redis.from_url(first.url) as client:
        for _ in range(500):
            if not client.info("persistence")["aof_buffer_length"]:
                break
            await asyncio.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    with pytest.raises(StoreError):
        await store.read([ANNA])
    with EmbeddedStore.start(tmp_path):
        assert len((await store.read([ANNA]))[0].inbox) == 8
        assert await store.append([arrival(2)]) == [Verdict.ACCEPTED]
    await store.close()


async def test_scripts_that_the_server_forgot_are_given_again(store: RedisStore, server: EmbeddedStore) -> None:
    await store.append([arrival(1)])
    with redis.Redis.from_url(server.url) as client:
        client.script_flush()
    several = [arrival(n, ProfileKey(f"u{n}", "main")) for n in range(20)]
    assert await store.append(several) == [Verdict.ACCEPTED] * 20
    assert len((await store.read([several[3].key]))[0].inbox) == 8


async def test_store_keeps_its_number_of_shards_whatever_settings_say(store: RedisStore, server: EmbeddedStore) -> None:
    await store.append([arrival(1)])
    other = RedisStore(server.url, StoreSettings(n_shards=8))
    assert await other.append([arrival(1)]) == [Verdict.DUPLICATE]
    assert await other.n_shards() == 4
    await other.close()


async def test_keys_of_a_profile_share_its_shards_tag_and_expire_as_set(store: RedisStore, server: EmbeddedStore) -> None:
    await store.append([arrival(1)])
    await store.put_settings(ANNA, ProfileSettings())
    slate = SlateServed("r1", "anna", "main", 0, "b", "homepage", "f", ProfileSettings())
    await store.log_slates([("r1", ANNA, encode_slate(slate))])
    await store.look_up([Wanted(ANNA, b"n" * 32, b"lease")], 200)
    assert await store.keep([Keeping(ANNA, b"n" * 32, b"lease", b"answer")], 1_000) == [True]
    tag = b"{s%d}" % shard_of(ANNA, 4)
    with redis.Redis.from_url(server.url) as client:
        ttl_of = {key: client.ttl(key) for key in client.scan_iter()}
    own = {key.removeprefix(tag)[:2]: ttl_s for key, ttl_s in ttl_of.items() if key.startswith(tag)}
    assert {key: ttl_s > 0 for key, ttl_s in own.items()} == {
        b"p:": False,
        b"d:": True,
        b"w:": True,
        b"ev": False,
        b"sl": False,
        b"r:": True,
        b"a:": True,
    }
    assert ttl_of.keys() - {key for key in ttl_of if key.startswith(tag)} == {b"rec:r1", b"recray:n_shards"}
    assert (own[b"d:"], own[b"w:"], own[b"r:"], ttl_of[b"rec:r1"]) == pytest.approx((500, 500, 300, 300), abs=5)
    assert own[b"a:"] == pytest.approx(200, abs=5)


async def test_records_outlive_the_slate_log_and_are_erased_with_the_profile(store: RedisStore, server: EmbeddedStore) -> None:
    served = [SlateServed(f"r{n}", "anna", "main", n, "b", "homepage", "f" * 3_000, ProfileSettings()) for n in range(60)]
    await store.log_slates([(slate.recommendation_id, ANNA, encode_slate(slate)) for slate in served])
    assert len(await store.slates(shard_of(ANNA, 4), "", 100)) < 20
    assert await store.slate("r0") == encode_slate(served[0])
    assert len((await store.export(ANNA))["slates"]) == 60
    assert (await store.erase(ANNA))["slates"] == 60
    with redis.Redis.from_url(server.url) as client:
        assert list(client.scan_iter("rec:*")) == []


async def test_erased_bytes_leave_the_disk_after_a_scrub(tmp_path: Path) -> None:
    marker = "Fingerabdruck"
    with EmbeddedStore.start(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        store = RedisStore(server.url, SETTINGS)
        await store.append([arrival(n, ProfileKey(marker, "main")) for n in range(50)])
        assert marker.encode() in _bytes_under(tmp_path)
        await store.erase(ProfileKey(marker, "main"))
        assert await store.scrub()
        for _ in range(400):
            if not client.info("persistence")["aof_rewrite_in_progress"]:
                break
            await asyncio.sleep(0.05)
        assert marker.encode() not in _bytes_under(tmp_path)
        await store.close()


def _bytes_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def test_profile_with_200_recent_events_stays_one_compact_allocation(store: RedisStore, server: EmbeddedStore) -> None:
    rng = np.random.default_rng(7)
    sessions = np.sort(rng.integers(0, 90, 200)) * 86_400 + rng.integers(0, 10_000, 200)
    words = fold.pack(1_700_000_000 + sessions, rng.integers(0, 15_000, 200), np.full(200, 2), np.full(200, 1), np.full(200, 9))
    state = fold.encode(fold.fold(fold.ProfileState(), words))
    await store.load([(ANNA, state, ProfileSettings("US", "en", "25-34", 18))])
    with redis.Redis.from_url(server.url) as client:
        key = next(iter(client.scan_iter("*p:*")))
        assert client.object("encoding", key) == b"listpack"
        assert client.memory_usage(key) <= len(state) + 256

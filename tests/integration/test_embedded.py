"""The embedded server: real processes that start, share, stop and kill it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from recray.errors import StoreError
from recray.features import fold
from recray.schema import Action, Event, ProfileKey
from recray.settings import StoreSettings
from recray.stores.embedded import EmbeddedStore, shut_down
from recray.stores.online import Arrival, Verdict
from recray.stores.redis import RedisStore

SETTINGS = StoreSettings(n_shards=4, timeout_s=2.0, dedup_ttl_s=500, record_ttl_s=300, slates_max_length=40)
ANNA = ProfileKey("anna", "main")


def arrival(n: int, key: ProfileKey = ANNA) -> Arrival:
    at_s = 1_700_000_000 + n
    packed = fold.pack(np.array([at_s]), np.array([n % 900]), np.array([Action.PLAY]), np.array([0]), np.array([0]))
    return Arrival(Event(f"e{n}", key.user_id, key.profile_id, f"tt{n}", Action.PLAY, at_s), int(packed[0]), at_s)


async def acknowledged(url: str, first: int, n: int) -> None:
    store = RedisStore(url, SETTINGS)
    assert await store.append([arrival(first + k) for k in range(n)]) == [Verdict.ACCEPTED] * n
    await store.close()


async def held(url: str) -> int:
    store = RedisStore(url, SETTINGS)
    (record,) = await store.read([ANNA])
    await store.close()
    return len(record.inbox) // 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.start(tmp_path_factory.mktemp("home")) as started:
        yield started


async def test_acknowledged_events_survive_an_orderly_stop(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path) as first:
        await acknowledged(first.url, 0, 500)
    with EmbeddedStore.start(tmp_path) as second:
        assert second.pid != first.pid
        assert second.url == first.url
        assert await held(second.url) == 500


async def test_events_that_reached_the_append_only_file_survive_a_kill(tmp_path: Path) -> None:
    first = EmbeddedStore.start(tmp_path)
    for start in range(0, 1_000, 100):
        await acknowledged(first.url, start, 100)
    with redis.Redis.from_url(first.url) as client:
        for _ in range(500):
            if not client.info("persistence")["aof_buffer_length"]:
                break
            await asyncio.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    with EmbeddedStore.start(tmp_path) as second:
        assert await held(second.url) == 1_000
        store = RedisStore(second.url, SETTINGS)
        assert await store.append([arrival(999)]) == [Verdict.DUPLICATE]
        await store.close()


def test_second_start_joins_and_never_ends_the_server(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path) as starter:
        joiner = EmbeddedStore.start(tmp_path)
        assert (joiner.url, joiner.pid, joiner.is_starter) == (starter.url, starter.pid, False)
        joiner.stop()
        assert redis.Redis.from_url(starter.url).ping()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(starter.url).ping()


def test_processes_that_start_at_once_share_one_server_which_outlives_a_killed_starter(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from recray.stores.embedded import EmbeddedStore\n"
        "store = EmbeddedStore.start(pathlib.Path(sys.argv[1]))\n"
        "print(store.pid, store.is_starter, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        told = [process.stdout.readline().split() for process in started if process.stdout]
        assert len({pid for pid, _ in told}) == 1
        assert sorted(is_starter for _, is_starter in told) == ["False", "False", "True"]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    joined = EmbeddedStore.start(tmp_path)
    assert (str(joined.pid), joined.is_starter) == (told[0][0], False)
    assert shut_down(tmp_path)
    assert not shut_down(tmp_path)
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(joined.url).ping()


def test_starter_ends_the_server_when_it_exits(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from recray.stores.embedded import EmbeddedStore\n"
        "print(EmbeddedStore.start(pathlib.Path(sys.argv[1])).url)"
    )
    url = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout.strip()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(url).ping()


def test_notes_left_by_a_dead_server_do_not_mislead(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with EmbeddedStore.start(tmp_path / "other") as stranger:
        port = stranger.url.rpartition(":")[2].partition("/")[0]
        note = f'{{"pid":{stranger.pid},"port":{port},"secret":"notthestrangers"}}'
        (tmp_path / "store" / "server.json").write_text(note)
        with EmbeddedStore.start(tmp_path) as store:
            assert store.is_starter
            assert store.pid != stranger.pid
            assert f":{port}/" not in store.url


def test_server_wants_its_password_and_listens_on_loopback_only(server: EmbeddedStore, tmp_path: Path) -> None:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(redis.AuthenticationError):
        redis.Redis("127.0.0.1", port).ping()
    assert redis.Redis.from_url(server.url).config_get("bind")["bind"] == "127.0.0.1"
    assert server.url.split(":")[2].partition("@")[0] not in Path(f"/proc/{server.pid}/cmdline").read_text()


def test_port_in_use_is_told_with_the_log(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=re.escape(f"the store server on port {port} did not come up")) as failure:
            EmbeddedStore.start(tmp_path, port)
    assert "Address already in use" in str(failure.value)


def test_wanted_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedStore.start(tmp_path, port) as store:
        assert f"@127.0.0.1:{port}/" in store.url

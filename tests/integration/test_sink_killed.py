"""Acknowledged once, in the lake once: sinks and the store killed at random while events arrive."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pyarrow as pa

from recray.errors import StoreError
from recray.features import fold
from recray.schema import TITLES, Action, Event, ProfileKey
from recray.settings import Settings, resolve
from recray.stores.embedded import EmbeddedStore, shut_down
from recray.stores.event_log import settle_profile
from recray.stores.lake import Lake
from recray.stores.online import Arrival
from recray.stores.redis import RedisStore
from sink_process import carry

N_KILLS = 20
N_STORE_KILLS = 3
N_TITLES = 40
KEYS = [ProfileKey(f"u{n}", "main") for n in range(30)]
# Forked from a process that has imported everything already: a sink starts in a moment even on a busy machine.
_PROCESSES = multiprocessing.get_context("forkserver")
# What needs it, not sink_process itself: a module that is not on its own path the server skips without a word.
_PROCESSES.set_forkserver_preload(["recray.serving.sink", "recray.stores.connect"])


def settings_of(home: Path, url: str) -> Settings:
    sink = {"max_age_s": 0.02, "max_rows": 200, "poll_s": 0.005, "claim_idle_s": 0.4, "upkeep_s": 0.2, "merge_parts": 3}
    return resolve({"home": str(home), "store": {"url": url, "n_shards": 4, "timeout_s": 2.0}, "sink": sink})


def arrival(n: int, now_s: int) -> Arrival:
    key, title = KEYS[n % len(KEYS)], n % N_TITLES
    at_s = now_s - 200_000 + n * 7
    packed = fold.pack(np.array([at_s]), np.array([title]), np.array([Action.PLAY]), np.array([1]), np.array([n % 64]))
    event = Event(f"e{n}", key.user_id, key.profile_id, f"t{title}", Action.PLAY, at_s, progress=(n % 64) / 63)
    return Arrival(event, int(packed[0]), now_s)


def start_sink(settings: Settings, *, until_empty: bool = False) -> BaseProcess:
    process = _PROCESSES.Process(target=carry, args=(settings.model_dump_json(), "tiny"), kwargs={"until_empty": until_empty})
    process.start()
    return process


class Sender:
    """Sends events as clients do: again after an answer was lost, until it is acknowledged."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.n_acknowledged = 0
        self.stop = False

    async def run(self) -> None:
        store = RedisStore(self.settings.store.url, self.settings.store)
        now_s = int(time.time())
        while not self.stop:
            batch = [arrival(n, now_s) for n in range(self.n_acknowledged, self.n_acknowledged + 20)]
            try:
                await store.append(batch)
            except StoreError:
                await asyncio.sleep(0.05)
                continue
            self.n_acknowledged += len(batch)
            with suppress(StoreError):
                await settle_profile(store, batch[self.n_acknowledged % 20].key)
            await asyncio.sleep(0.01)
        await store.close()


async def committed(lake: Lake, above: int) -> None:
    """Wait until the lake holds more than it did."""
    for _ in range(3_000):
        if lake.sunk("tiny").read().n_written > above:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no sink committed anything after commit {above}")


async def kill_at_random(settings: Settings, servers: list[EmbeddedStore], rng: np.random.Generator) -> None:
    """Two sinks at a time; one of them dies every time, now and then the store as well."""
    lake = Lake(settings.lake_dir)
    sinks = [start_sink(settings) for _ in range(2)]
    try:
        for n in range(N_KILLS):
            await committed(lake, lake.sunk("tiny").read().n_written)
            await asyncio.sleep(rng.uniform(0, 0.15))
            victim = sinks.pop(0)
            victim.kill()
            victim.join()
            sinks.append(start_sink(settings))
            if n % (N_KILLS // N_STORE_KILLS) == 3:
                os.kill(servers[-1].pid, signal.SIGKILL)
                servers[-1].stop()
                servers.append(EmbeddedStore.start(settings.home))
    finally:
        for process in sinks:
            process.kill()
            process.join()


async def test_no_acknowledged_event_is_lost_or_twice_in_the_lake_or_in_state(tmp_path: Path) -> None:
    servers = [EmbeddedStore.start(tmp_path)]
    try:
        settings = settings_of(tmp_path, servers[0].url)
        lake = Lake(settings.lake_dir)
        ids = [f"t{n}" for n in range(N_TITLES)]
        columns = {"content_id": ids, "name": ids, "kind": ["movie"] * N_TITLES, "genres": [["Drama"]] * N_TITLES}
        lake.write("tiny", {"titles": pa.table({n: pa.array(v, TITLES.field(n).type) for n, v in columns.items()})}, {})
        sender = Sender(settings)
        sending = asyncio.create_task(sender.run())
        try:
            await kill_at_random(settings, servers, np.random.default_rng(20261122))
        finally:
            sender.stop = True
            await sending
        await asyncio.sleep(settings.sink.claim_idle_s)
        last = start_sink(settings, until_empty=True)
        last.join(60)
        assert last.exitcode == 0
        written = Counter(lake.events("tiny")["event_id"].to_pylist())
        assert written == Counter(f"e{n}" for n in range(sender.n_acknowledged))
        assert lake.sunk("tiny").read().n_rows == sender.n_acknowledged
        assert lake.sunk("tiny").read().n_quarantined == 0
        await states_hold(settings, sender.n_acknowledged)
    finally:
        for server in servers:
            server.stop()
        shut_down(tmp_path)


async def states_hold(settings: Settings, n_sent: int) -> None:
    """Every profile's state is the fold of exactly what was acknowledged for it, and the log is trimmed."""
    store = RedisStore(settings.store.url, settings.store)
    for row, key in enumerate(KEYS):
        await settle_profile(store, key)
        (record,) = await store.read([key])
        assert int(record.folded().counters[: len(Action)].sum()) + record.folded().recent.size == len(
            range(row, n_sent, len(KEYS))
        )
    assert [await store.entries(shard, "", 10) for shard in range(4)] == [[], [], [], []]
    await store.close()

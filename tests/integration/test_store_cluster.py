"""The store on a real cluster: slots move and nodes die while events are appended, and none is lost or there twice."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from recray.errors import StoreError
from recray.features import fold
from recray.serving.sink import Sink
from recray.settings import StoreSettings, resolve
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import settle_profile, shard_of
from recray.stores.online import OnlineStore, Verdict
from recray.stores.redis_keys import tag_of
from sent_events import KEYS, arrival, folded, sending, titles_in
from valkey_cluster import PASSWORD, Node, ValkeyCluster, started, wait_for

N_SHARDS = 12
SETTINGS = StoreSettings(n_shards=N_SHARDS, timeout_s=1.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with started(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
async def store(cluster: ValkeyCluster) -> AsyncIterator[OnlineStore]:
    cluster.flush()
    opened = open_store(SETTINGS, cluster.url)
    yield opened
    await opened.close()


async def holds_everything_once(store: OnlineStore, n_sent: int) -> None:
    """Each event is in the log once, a profile's in the order they were sent in, and once in its state."""
    logged: dict[str, list[int]] = {}
    for shard in range(N_SHARDS):
        for _, facts in await store.events(shard, "", 1_000_000):
            logged.setdefault(facts["user_id"], []).append(int(facts["event_id"][1:]))
    for row, record in enumerate(await store.read(KEYS)):
        assert logged.get(f"u{row}", []) == list(range(row, n_sent, len(KEYS)))
        assert fold.encode(record.folded()) == folded(row, n_sent)


async def test_every_command_finds_its_node_and_scripts_that_a_node_lost_are_given_again(
    cluster: ValkeyCluster, store: OnlineStore
) -> None:
    assert {cluster.holder(cluster.slot(tag_of(shard))).port for shard in range(N_SHARDS)} == {n.port for n in cluster.masters}
    assert await store.append([arrival(n) for n in range(200)]) == [Verdict.ACCEPTED] * 200
    for node in cluster.masters:
        node.client.script_flush()
    assert await store.append([arrival(n) for n in range(150, 300)]) == [Verdict.DUPLICATE] * 50 + [Verdict.ACCEPTED] * 100
    await holds_everything_once(store, 300)


async def test_many_profiles_are_read_in_one_round_trip_per_node(cluster: ValkeyCluster, store: OnlineStore) -> None:
    await store.append([arrival(n) for n in range(len(KEYS))])
    before = [node.client.info("stats")["total_reads_processed"] for node in cluster.masters]
    await store.read(KEYS)
    reads = [node.client.info("stats")["total_reads_processed"] - n for node, n in zip(cluster.masters, before, strict=True)]
    assert max(reads) <= 2  # the read itself, and the question how many there were


def other_than(cluster: ValkeyCluster, holder: Node) -> Node:
    return next(node for node in cluster.masters if node.port != holder.port)


async def test_slot_that_moves_as_a_whole_while_events_arrive_loses_and_repeats_none(
    cluster: ValkeyCluster, store: OnlineStore
) -> None:
    slot = cluster.slot(tag_of(shard_of(KEYS[0], N_SHARDS)))
    async with sending(store) as sender:
        for _ in range(3):
            await sender.sent(500)
            holder = cluster.holder(slot)
            target = other_than(cluster, holder)
            holder.client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.name)
            await asyncio.to_thread(wait_for, partial(cluster.has_moved, slot, target), "the slot moved")
        await sender.sent(500)
    assert sender.n_refused == 0
    await holds_everything_once(store, sender.n_acknowledged)


async def test_slot_that_moves_key_by_key_while_events_arrive_loses_and_repeats_none(
    cluster: ValkeyCluster, store: OnlineStore
) -> None:
    slot = cluster.slot(tag_of(shard_of(KEYS[0], N_SHARDS)))
    async with sending(store) as sender:
        await sender.sent(1_000)
        holder = cluster.holder(slot)
        target = other_than(cluster, holder)
        await asyncio.to_thread(_move_key_by_key, cluster, slot, holder, target)
        await sender.sent(1_000)
    await holds_everything_once(store, sender.n_acknowledged)


def _move_key_by_key(cluster: ValkeyCluster, slot: int, holder: Node, target: Node) -> None:
    target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", holder.name)
    holder.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.name)
    holder.client.set_response_callback("CLUSTER GETKEYSINSLOT", list)  # names of dedup marks are no text
    while keys := holder.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 20):
        assert holder.client.execute_command(
            "MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "AUTH", PASSWORD, "KEYS", *keys
        ) == b"OK"  # fmt: skip
        time.sleep(0.005)
    for node in (target, holder, *cluster.masters):
        node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", target.name)


async def test_sink_carries_the_logs_of_all_nodes_into_the_lake_once_while_a_slot_moves(
    cluster: ValkeyCluster, store: OnlineStore, tmp_path: Path
) -> None:
    lake = titles_in(tmp_path / "lake")
    settings = resolve({
        "home": str(tmp_path), "store": {"n_shards": N_SHARDS, "timeout_s": 1.0},
        "sink": {"max_age_s": 0.02, "poll_s": 0.01, "claim_idle_s": 5.0},
    })  # fmt: skip
    sink, over = Sink(store, lake, "tiny", settings, member="one", now_s=lambda: time.time_ns() / 1e9), asyncio.Event()
    slot = cluster.slot(tag_of(shard_of(KEYS[0], N_SHARDS)))
    carrying = asyncio.create_task(sink.run(over))
    async with sending(store) as sender:
        await sender.sent(500)
        holder = cluster.holder(slot)
        target = other_than(cluster, holder)
        holder.client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.name)
        await asyncio.to_thread(wait_for, lambda: cluster.has_moved(slot, target), "the slot moved")
        await sender.sent(500)
    over.set()
    await carrying
    written = Counter(lake.events("tiny")["event_id"].to_pylist())
    assert written == Counter(f"e{n}" for n in range(sender.n_acknowledged))
    assert [await store.entries(shard, "", 10) for shard in range(N_SHARDS)] == [[]] * N_SHARDS


async def test_replica_of_a_master_that_died_takes_over_and_the_same_store_goes_on(tmp_path: Path) -> None:
    with started(tmp_path, replicated=True) as cluster:
        store = open_store(SETTINGS, cluster.url)
        n_sent = 600
        await store.append([arrival(n) for n in range(n_sent)])
        slot = cluster.slot(tag_of(shard_of(KEYS[0], N_SHARDS)))
        victim = cluster.holder(slot)
        replicated = cluster.replicas[cluster.masters.index(victim)]
        wait_for(lambda: _offset(replicated) == _offset(victim), "the replica has everything")
        victim.kill()
        cluster.masters.remove(victim)
        refused_s = time.monotonic()
        with pytest.raises(StoreError):
            await store.append([arrival(n) for n in range(n_sent, n_sent + 60)])
        assert time.monotonic() - refused_s < 5 * SETTINGS.timeout_s
        async with sending(store) as sender:
            await sender.sent(n_sent + 600)
        for key in KEYS:
            assert await settle_profile(store, key)
        await holds_everything_once(store, sender.n_acknowledged)
        await store.close()


def _offset(node: Node) -> int:
    facts = node.client.info("replication")
    return int(facts.get("slave_repl_offset", facts["master_repl_offset"]))


async def test_nobody_listening_is_one_clear_error_without_the_password() -> None:
    store = open_store(SETTINGS, "redis+cluster://user:hunter2@127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(StoreError, match=r"store redis\+cluster://127.0.0.1:1,127.0.0.1:2 cannot be reached") as failure:
        await store.read(KEYS)
    assert "hunter2" not in str(failure.value)
    await store.close()


async def test_wrong_password_is_a_store_error(cluster: ValkeyCluster) -> None:
    store = open_store(SETTINGS, cluster.url.replace(PASSWORD, "wrong"))
    with pytest.raises(StoreError):
        await store.ping()
    await store.close()


async def test_plain_server_named_as_a_cluster_is_a_store_error_that_says_so(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path) as server:
        store = open_store(SETTINGS, server.url.replace("redis://", "redis+cluster://"))
        with pytest.raises(StoreError, match="Cluster mode is not enabled"):
            await store.ping()
        await store.close()
        with redis.Redis.from_url(server.url) as client:
            assert client.dbsize() == 0

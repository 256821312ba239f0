"""The sink on a store in memory: batches, poison, two sinks, crashes between any two steps, erasure."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recray.features import fold
from recray.schema import TITLES, Action, Event, ProfileKey
from recray.serving.sink import GROUP, Sink, SinkFacts
from recray.settings import Settings, resolve
from recray.stores import event_log
from recray.stores.lake import Lake
from recray.stores.memory import MemoryStore
from recray.stores.online import Arrival

NOON_S = 1_700_000_000
SETTINGS = resolve({
    "store": {"n_shards": 2},
    "sink": {"max_rows": 50, "max_age_s": 5.0, "claim_idle_s": 20.0, "tries": 3, "merge_parts": 3, "retired_s": 100.0},
})  # fmt: skip
KEYS = [ProfileKey(f"u{n}", "main") for n in range(5)]


@dataclass
class Clock:
    at_s: float = float(NOON_S)

    def __call__(self) -> float:
        return self.at_s


@dataclass
class World:
    store: MemoryStore
    lake: Lake
    clock: Clock
    n_sinks: int = 0

    def sink(self, settings: Settings = SETTINGS) -> Sink:
        self.n_sinks += 1
        return Sink(self.store, self.lake, "tiny", settings, member=f"sink-{self.n_sinks}", now_s=self.clock)

    async def send(self, *numbers: int, content_id: str = "") -> None:
        await self.store.append([arrival(n, content_id) for n in numbers])

    def ids(self) -> list[str]:
        return sorted(self.lake.events("tiny")["event_id"].to_pylist())

    def quarantined(self) -> list[dict[str, Any]]:
        folder = self.lake.root / "tiny.sunk"
        files = self.lake.sunk("tiny").read().quarantine
        return [row for file in files for row in pq.read_table(folder / file, partitioning=None).to_pylist()]

    async def n_logged(self) -> int:
        return sum([len(await self.store.entries(shard, "", 10_000)) for shard in range(2)])


def arrival(n: int, content_id: str = "", item: int | None = None) -> Arrival:
    key, title = KEYS[n % len(KEYS)], n % 9
    number = title if item is None else item
    packed = fold.pack(np.array([NOON_S + n]), np.array([number]), np.array([Action.PLAY]), np.array([0]), np.array([0]))
    event = Event(f"e{n:04d}", key.user_id, key.profile_id, content_id or f"t{title}", Action.PLAY, NOON_S + n)
    return Arrival(event, int(packed[0]), NOON_S + n + 1)


def ids(*numbers: int) -> list[str]:
    return sorted(f"e{n:04d}" for n in numbers)


def titles(n: int) -> pa.Table:
    columns = {"content_id": [f"t{i}" for i in range(n)], "name": ["T"] * n, "kind": ["movie"] * n, "genres": [["Drama"]] * n}
    return pa.table({name: pa.array(values, TITLES.field(name).type) for name, values in columns.items()})


@pytest.fixture
def world(tmp_path: Path) -> World:
    clock = Clock()
    lake = Lake(tmp_path / "lake")
    lake.write("tiny", {"titles": titles(9)}, {})
    return World(MemoryStore(SETTINGS.store, clock), lake, clock)


async def test_events_reach_the_lake_once_with_all_their_facts_and_leave_the_log(world: World) -> None:
    await world.send(*range(30))
    await world.sink().drain()
    assert world.ids() == ids(*range(30))
    row = world.lake.events("tiny").to_pylist()[7]
    told = event_log.facts(arrival(7))
    assert {name: row[name] for name in ("user_id", "content_id", "action", "device")} == {
        name: told[name] for name in ("user_id", "content_id", "action", "device")
    }
    assert int(row["event_at"].timestamp()) == NOON_S + 7
    assert await world.n_logged() == 0
    assert (await world.store.lag(GROUP)).n_entries == 0


async def test_batch_waits_until_it_is_old_or_full(world: World) -> None:
    sink = world.sink()
    await world.send(*range(3))
    await sink.step()
    assert world.ids() == []
    assert (await world.store.lag(GROUP)).n_entries == 3
    world.clock.at_s += 5
    assert (await world.store.lag(GROUP)).oldest_s == 5
    await sink.step()
    assert world.ids() == ids(*range(3))
    await world.send(*range(100, 300))
    for _ in range(3):
        await sink.step()
    assert len(world.ids()) >= 53


async def test_new_sink_goes_on_where_a_dead_one_stopped_without_waiting_long(world: World) -> None:
    first = world.sink()
    await world.send(*range(20))
    await first.step()
    second = world.sink()
    await second.drain()
    assert world.ids() == []
    world.clock.at_s += 20
    await second.drain()
    assert world.ids() == ids(*range(20))
    assert await world.n_logged() == 0


async def test_two_sinks_at_once_write_everything_once(world: World) -> None:
    sinks = [world.sink() for _ in range(3)]
    for start in range(0, 300, 20):
        await world.send(*range(start, start + 20))
        await asyncio.gather(*(sink.step() for sink in sinks))
        world.clock.at_s += 3
    for _ in range(10):
        for sink in sinks:
            await sink.drain()
    assert world.ids() == ids(*range(300))


async def test_sink_that_is_full_takes_what_a_dead_one_had_before_it(world: World) -> None:
    dead, alive = world.sink(), world.sink()
    await world.send(*range(30))
    await dead.step()
    await world.send(*range(30, 130))
    while alive.n_held < 50:
        await alive.step()
    assert world.ids() == []
    for _ in range(10):
        world.clock.at_s += 21
        await alive.step()
    assert world.ids() == ids(*range(130))


async def test_what_the_lake_has_is_not_written_again_when_it_is_given_out_again(world: World) -> None:
    await world.store.group("counts", "c", 20.0).begin({})  # it is behind, so nothing is trimmed
    sink = world.sink()
    await world.send(*range(20))
    await sink.drain()
    world.clock.at_s += 21
    await world.store.group(GROUP, "began-long-ago", 20.0).begin({})  # by what it had read of the lake then: nothing
    await world.send(*range(20, 30))
    for _ in range(4):
        await sink.step()
        world.clock.at_s += 6
    assert world.ids() == ids(*range(30))
    assert world.lake.sunk("tiny").read().n_rows == 30


async def test_sink_that_slept_while_its_entries_were_claimed_writes_nothing_twice(world: World) -> None:
    sleeper, other = world.sink(), world.sink()
    await world.send(*range(10))
    await sleeper.step()
    world.clock.at_s += 21
    await other.drain()
    assert world.ids() == ids(*range(10))
    await sleeper._flush()
    await world.send(*range(10, 20))
    await sleeper.drain()
    assert world.lake.sunk("tiny").read().n_rows == 20
    assert world.ids() == ids(*range(20))


async def test_sleeper_that_is_about_to_commit_is_refused(world: World) -> None:
    sleeper, other = world.sink(), world.sink()
    await world.send(*range(10))
    await sleeper.step()
    batch = sleeper._judged(await sleeper._gapless())
    world.clock.at_s += 21
    await other.drain()
    assert not world.lake.sunk("tiny").commit(batch)
    assert world.lake.sunk("tiny").read().n_rows == 10


class Killed(BaseException):
    """Stands for SIGKILL."""


async def test_a_sink_killed_between_any_two_steps_loses_nothing_and_repeats_nothing(world: World) -> None:
    """Every call to the store and every change of a file is once the last that happens, and once the first that does not."""
    sent, survived, n = 0, 0, 0
    while survived < 2:
        await world.send(*range(sent, sent + 6))
        sent += 6
        world.clock.at_s += 30
        with pytest.MonkeyPatch.context() as patch:
            counted = Countdown(n // 2, after=n % 2 == 1)
            counted.watch(patch, world)
            try:
                await world.sink().drain()
                survived += 1
            except Killed:
                survived = 0
        n += 1
    world.clock.at_s += 30
    await world.sink().drain()
    assert n > 40
    assert world.ids() == ids(*range(sent))
    assert world.lake.sunk("tiny").read().n_rows == sent
    assert await world.n_logged() == 0


@dataclass
class Countdown:
    left: int
    after: bool

    def watch(self, patch: pytest.MonkeyPatch, world: World) -> None:
        group = type(world.store.group(GROUP, "watcher", 1.0))
        for name in ("begin", "take", "held", "finish"):
            patch.setattr(group, name, self.awaited(getattr(group, name)))
        for name in ("erasures", "note", "log_id"):
            patch.setattr(world.store, name, self.awaited(getattr(world.store, name)))
        patch.setattr(pq, "write_table", self.called(pq.write_table))
        for name in ("replace", "unlink", "mkdir"):
            patch.setattr(Path, name, self.called(getattr(Path, name)))
        patch.setattr("os.fsync", self.called(__import__("os").fsync))

    def due(self) -> bool:
        self.left -= 1
        return self.left == -1

    def called(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            due = self.due()
            if due and not self.after:
                raise Killed
            done = work(*args, **kwargs)
            if due:
                raise Killed
            return done

        return watched

    def awaited(self, work: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*args: Any, **kwargs: Any) -> Any:
            due = self.due()
            if due and not self.after:
                raise Killed
            done = await work(*args, **kwargs)
            if due:
                raise Killed
            return done

        return watched


def spoil(world: World, number: int) -> None:
    """Make one logged entry unreadable."""
    for log in world.store._events:
        for place, (key, name, _) in enumerate(log.entries):
            if name == f"e{number:04d}":
                log.entries[place] = (key, name, b"\xc1nonsense")


async def test_unreadable_entry_is_set_aside_after_its_tries_and_holds_up_nothing_for_good(world: World) -> None:
    sink = world.sink()
    await world.send(*range(10))
    spoil(world, 4)
    for _ in range(2):
        world.clock.at_s += 6
        await sink.step()
        await sink.step()
        assert "e0004" not in world.ids()
        assert not world.quarantined()
    for _ in range(4):
        world.clock.at_s += 6
        await sink.step()
    assert world.ids() == ids(*(n for n in range(10) if n != 4))
    (aside,) = world.quarantined()
    assert aside["entry"] == b"\xc1nonsense"
    assert aside["n_tries"] == 3
    assert "cannot be read" in aside["reason"]
    facts = msgspec.json.decode(await world.store.noted(GROUP) or b"", type=SinkFacts)
    assert (facts.n_written, facts.n_quarantined) == (9, 1)
    assert await world.n_logged() == 0


async def test_event_of_an_unknown_title_is_written_once_its_title_is_imported(world: World) -> None:
    sink = world.sink()
    await world.store.append([arrival(1, "t9", item=9), arrival(2, "t77", item=77)])
    world.clock.at_s += 6
    await sink.step()
    assert world.ids() == []
    world.lake.write("tiny", {"titles": titles(10)}, {})
    for _ in range(6):
        world.clock.at_s += 6
        await sink.step()
    assert world.ids() == ids(1)
    assert [row["reason"] for row in world.quarantined()] == ["title 't77' is not in the titles table"]


async def test_event_whose_title_has_another_number_is_set_aside(world: World) -> None:
    sink = world.sink()
    await world.store.append([arrival(1, "t1", item=5)])
    for _ in range(5):
        world.clock.at_s += 6
        await sink.step()
    assert [row["reason"] for row in world.quarantined()] == ["title 't1' was logged as number 5; the titles table has it as 1"]


async def test_log_is_not_trimmed_while_another_group_is_behind(world: World) -> None:
    other = world.store.group("aggregates", "a1", 20.0)
    await other.begin({})
    await world.send(*range(10))
    await world.sink().drain()
    assert world.ids() == ids(*range(10))
    assert await world.n_logged() == 10
    taken = await other.take(100)
    await other.finish({shard: entries[-1].position for shard, entries in taken.items()})
    assert await world.n_logged() == 0


async def test_erased_profile_vanishes_from_the_lake_and_what_it_does_afterwards_stays(world: World) -> None:
    sink = world.sink()
    await world.send(*range(20))
    await sink.drain()
    await world.send(20, 21)
    await sink.step()
    gone = KEYS[0]
    await world.store.erase(gone)
    await world.send(25)
    await sink.drain()
    left = world.lake.events("tiny")
    assert sorted(left["event_id"].to_pylist()) == ids(*(n for n in range(22) if n % 5), 25)
    assert await world.store.erasures() == {}
    sunk = world.lake.sunk("tiny")
    named = Counter(user for file in sunk.paths(sunk.read()) for user in pq.read_table(file)["user_id"].to_pylist())
    assert named["u0"] == 1
    world.clock.at_s += 200
    await sink.drain()
    held = b"".join(path.read_bytes() for path in sorted((world.lake.root / "tiny.sunk").rglob("*.parquet")))
    assert len(list((world.lake.root / "tiny.sunk").rglob("*.parquet"))) == len(sunk.read().parts)
    assert b"e0005" not in held


async def test_store_that_was_replaced_starts_its_positions_anew(world: World) -> None:
    await world.send(*range(8))
    await world.sink().drain()
    fresh = replace(world, store=MemoryStore(SETTINGS.store, world.clock))
    await fresh.send(*range(8, 12))
    await fresh.sink().drain()
    assert world.ids() == ids(*range(12))

"""What sinks commit: whole batches or nothing, each event once, merged and rewritten without a reader noticing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dying import Killed, die_at
from recray.errors import DataError
from recray.schema import EVENTS, ProfileKey
from recray.stores.erased import Erased
from recray.stores.event_log import digest, erasure_mark
from recray.stores.lake import Lake
from recray.stores.sunk import QUARANTINE, SUNK, Batch, SunkEvents, logged

from .lake_tables import DAY, T0, events, titles

MIDNIGHT = T0 - T0 % DAY
LOG = "store/0"
LONG = 10 * DAY


def row(n: int, at_s: int, user_id: str = "u", log: str = LOG) -> dict[str, Any]:
    at_ms = at_s * 1_000
    named = {"event_id": f"e{n:03d}", "user_id": user_id, "profile_id": "p", "content_id": "a", "action": "play"}
    return {**named, "event_at": at_ms, "received_at": at_ms, **logged(log, f"{n}-0")}


def batch(rows: list[dict[str, Any]], behind: str, through: str, log: str = LOG, refused: list[Any] | None = None) -> Batch:
    aside = pa.Table.from_pylist(refused or [], schema=QUARANTINE)
    return Batch(pa.Table.from_pylist(rows, schema=SUNK), aside, {log: behind}, {log: through})


def fill(sunk: SunkEvents, n: int, at_s: Callable[[int], int] = lambda n: MIDNIGHT + n) -> None:
    """n commits of one event each."""
    for k in range(1, n + 1):
        assert sunk.commit(batch([row(k, at_s(k))], f"{k - 1}-0" if k > 1 else "", f"{k}-0"))


def ids(lake: Lake) -> list[str]:
    return lake.events("tiny")["event_id"].to_pylist()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.write("tiny", {"titles": titles("a")}, {})
    return lake


@pytest.fixture
def sunk(lake: Lake) -> SunkEvents:
    return lake.sunk("tiny")


def files(lake: Lake) -> list[str]:
    return sorted(str(path.relative_to(lake.root)) for path in (lake.root / "tiny.sunk").rglob("*.parquet"))


def test_imported_and_sunk_events_are_read_as_one_in_order_and_once(lake: Lake, sunk: SunkEvents) -> None:
    lake.write("tiny", {"titles": titles("a"), "events": events(MIDNIGHT + 5, MIDNIGHT + DAY)}, {})
    again = row(0, MIDNIGHT + 5)
    other = {**again, "user_id": "someone else"}
    assert sunk.commit(batch([row(7, MIDNIGHT - 1), again, other, row(8, MIDNIGHT + 6)], "", "8-0"))
    held = lake.events("tiny")
    assert held.schema.equals(EVENTS)
    assert ids(lake) == ["e007", "e000", "e000", "e008", "e001"]
    assert lake.events("tiny", MIDNIGHT, MIDNIGHT + DAY, columns=["event_id"])["event_id"].to_pylist() == [
        "e000",
        "e000",
        "e008",
    ]
    assert len(lake.event_files("tiny")) == 4
    assert lake.table("tiny", "events").equals(held)
    assert lake.names() == ["tiny"]


def test_sunk_events_survive_a_new_import(lake: Lake, sunk: SunkEvents) -> None:
    fill(sunk, 2)
    lake.write("tiny", {"titles": titles("a", "b"), "events": events(MIDNIGHT - 9, first=50)}, {})
    assert ids(lake) == ["e050", "e001", "e002"]


def test_batch_that_does_not_follow_what_is_there_is_refused_whole(lake: Lake, sunk: SunkEvents) -> None:
    fill(sunk, 2)
    before = sunk.read()
    assert not sunk.commit(batch([row(2, MIDNIGHT)], "1-0", "2-0"))
    assert not sunk.commit(batch([row(9, MIDNIGHT)], "8-0", "9-0"))
    assert not sunk.commit(Batch(SUNK.empty_table(), QUARANTINE.empty_table(), {LOG: "2-0", "store/1": "5-0"}, {LOG: "3-0"}))
    assert sunk.read() == before
    assert ids(lake) == ["e001", "e002"]


STEPS = ((Path, "mkdir"), (Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "rmtree"))


def test_a_commit_killed_at_any_step_is_there_as_a_whole_or_not_at_all(lake: Lake, sunk: SunkEvents) -> None:
    steps = 0
    for step in range(1, 60):
        steps = step
        n = 2 * step
        behind = sunk.read().through.get(LOG, "")
        with pytest.MonkeyPatch.context() as patch:
            die_at(step, STEPS, patch)
            try:
                done = sunk.commit(batch([row(n, MIDNIGHT), row(n + 1, MIDNIGHT + DAY)], behind, f"{n + 1}-0"))
            except Killed:
                done = None
        there = sunk.read().through.get(LOG, "") == f"{n + 1}-0"
        assert {f"e{n:03d}", f"e{n + 1:03d}"} & set(ids(lake)) == ({f"e{n:03d}", f"e{n + 1:03d}"} if there else set())
        assert len(ids(lake)) == sunk.read().n_rows
        if done:
            break
    assert steps > 8


def test_upkeep_killed_at_any_step_changes_nothing_that_readers_see(lake: Lake, sunk: SunkEvents) -> None:
    fill(sunk, 9, at_s=lambda n: MIDNIGHT + n % 2 * DAY)
    expected = ids(lake)
    for step in range(1, 80):
        with pytest.MonkeyPatch.context() as patch:
            die_at(step, STEPS, patch)
            try:
                sunk.upkeep(MIDNIGHT, merge_parts=2, late_s=LONG, retired_s=0.0)
                break
            except Killed:
                assert ids(lake) == expected
    assert ids(lake) == expected
    assert step > 10
    sunk.upkeep(MIDNIGHT, merge_parts=2, late_s=LONG, retired_s=0.0)
    assert files(lake) == [f"tiny.sunk/{part.file}" for part in sorted(sunk.read().parts, key=lambda part: part.file)]


def test_small_files_of_a_day_become_one_and_those_of_a_closed_day_all(lake: Lake, sunk: SunkEvents) -> None:
    fill(sunk, 8)
    sunk.upkeep(MIDNIGHT, merge_parts=3, late_s=LONG, retired_s=1e9)
    assert [(part.level, part.n_rows) for part in sunk.read().parts] == [(1, 8)]
    assert sunk.commit(batch([row(9, MIDNIGHT)], "8-0", "9-0"))
    sunk.upkeep(MIDNIGHT, merge_parts=3, late_s=LONG, retired_s=1e9)
    assert sorted(part.n_rows for part in sunk.read().parts) == [1, 8]
    sunk.upkeep(MIDNIGHT + DAY + LONG + 1, merge_parts=3, late_s=LONG, retired_s=1e9)
    assert [part.n_rows for part in sunk.read().parts] == [9]
    assert ids(lake) == [f"e{n:03d}" for n in (9, *range(1, 9))]


def test_replaced_files_stay_for_readers_that_are_under_way(lake: Lake, sunk: SunkEvents) -> None:
    fill(sunk, 3)
    under_way = lake.snapshot("tiny").sunk
    sunk.upkeep(MIDNIGHT, merge_parts=3, late_s=LONG, retired_s=100.0)
    sunk.upkeep(MIDNIGHT + 99, merge_parts=3, late_s=LONG, retired_s=100.0)
    assert sum(pq.read_table(file, partitioning=None).num_rows for file in under_way) == 3
    sunk.upkeep(MIDNIGHT + 100, merge_parts=3, late_s=LONG, retired_s=100.0)
    assert not any(Path(file).exists() for file in under_way)
    assert len(ids(lake)) == 3


def mark(user_id: str) -> bytes:
    return erasure_mark(digest(ProfileKey(user_id, "p")))


def test_erased_profile_is_seen_by_no_reader_at_once_and_leaves_the_files_later(lake: Lake, sunk: SunkEvents) -> None:
    people = pa.table({"user_id": ["u", "v"], "profile_id": ["p", "p"]})
    follows = {
        "user_id": ["v", "w"],
        "profile_id": ["p", "p"],
        "followed_user_id": ["u", "v"],
        "followed_profile_id": ["p", "p"],
    }
    tables = {"titles": titles("a"), "events": events(MIDNIGHT), "profiles": people, "follows": pa.table(follows)}
    lake.write("tiny", tables, {})
    refused = [{**logged(LOG, f"{n}-0"), "profile": digest(ProfileKey(who, "p")), "reason": "bad", "n_tries": 3, "entry": b"x"}
               for n, who in ((2, "u"), (3, "v"))]  # fmt: skip
    assert sunk.commit(batch([row(1, MIDNIGHT, "u"), row(4, MIDNIGHT, "v"), row(5, MIDNIGHT, "u")], "", "5-0", refused=refused))
    sunk.erase({mark("u"): (LOG, "4-0")})
    assert ids(lake) == ["e004", "e005"]
    assert lake.table("tiny", "profiles")["user_id"].to_pylist() == ["v"]
    assert lake.table("tiny", "follows")["user_id"].to_pylist() == ["w"]
    sunk.upkeep(MIDNIGHT, merge_parts=9, late_s=LONG, retired_s=0.0)
    sunk.upkeep(MIDNIGHT, merge_parts=9, late_s=LONG, retired_s=0.0)
    folder = lake.root / "tiny.sunk"
    rows = [one for file in sunk.paths(sunk.read()) for one in pq.read_table(file, partitioning=None).to_pylist()]
    assert sorted(one["event_id"] for one in rows) == ["e004", "e005"]
    aside = [one for file in sunk.read().quarantine for one in pq.read_table(folder / file, partitioning=None).to_pylist()]
    assert [one["logged_at_ms"] for one in aside] == [3]
    assert len(files(lake)) == 2
    assert sunk.commit(batch([row(3, MIDNIGHT, "u"), row(6, MIDNIGHT, "u")], "5-0", "6-0"))
    assert ids(lake) == ["e004", "e005", "e006"]


def test_rows_of_a_store_that_is_gone_are_older_than_an_erasure(lake: Lake, sunk: SunkEvents) -> None:
    assert sunk.commit(batch([row(9, MIDNIGHT, log="old/0")], "", "9-0", log="old/0"))
    sunk.erase({mark("u"): (LOG, "1-0")})
    assert ids(lake) == []
    assert Erased(sunk.read().erased).of(ProfileKey("u", "p")) == (LOG, "1-0")


def test_rows_behind_a_position_are_found_whatever_was_merged_since(sunk: SunkEvents) -> None:
    fill(sunk, 4)
    known = sunk.paths(sunk.read())
    for k in (5, 6):
        assert sunk.commit(batch([row(k, MIDNIGHT + k)], f"{k - 1}-0", f"{k}-0"))
    sunk.upkeep(MIDNIGHT, merge_parts=2, late_s=LONG, retired_s=1e9)
    later = sunk.rows_after(sunk.read(), {LOG: "4-0"}, known)
    assert sorted(later["event_id"].to_pylist()) == ["e005", "e006"]
    assert sunk.rows_after(sunk.read(), {}, []).num_rows == 6


def test_commit_list_that_cannot_be_read_is_an_error_and_not_an_empty_lake(lake: Lake, sunk: SunkEvents) -> None:
    fill(sunk, 1)
    (lake.root / "tiny.sunk" / "sunk.json").write_text("{")
    with pytest.raises(DataError, match=r"sunk\.json cannot be read"):
        lake.events("tiny")

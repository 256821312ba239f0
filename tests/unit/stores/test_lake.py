"""The offline store: whole sets or none, stable title numbers, events by day."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.errors import DataError
from recray.schema import EVENTS, FOLLOWS, TABLES, TITLES
from recray.stores.lake import Lake

from .lake_tables import DAY, T0, events, titles


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_an_unused_lake_lists_nothing_and_makes_no_directory(lake: Lake, tmp_path: Path) -> None:
    assert lake.names() == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_read_back_with_every_column_of_the_schema(lake: Lake) -> None:
    path = lake.write("tiny", {"titles": titles("a", "b"), "events": events(T0, T0 + 1)}, {"source": "by hand"})
    assert lake.names() == ["tiny"]
    assert path.name == "tiny"
    assert lake.manifest("tiny") == {"source": "by hand", "tables": {"titles": 2, "events": 2}}
    held = lake.table("tiny", "titles")
    assert held.schema.equals(TITLES)
    assert held["name"].to_pylist() == ["Title a", "Title b"]
    assert held["localized_names"].to_pylist()[1] == [("de", "Titel b")]
    assert held["synopsis"].null_count == 2
    assert lake.table("tiny", "events").equals(lake.events("tiny"))


def test_an_absent_optional_table_is_empty_and_has_its_schema(lake: Lake) -> None:
    path = lake.write("tiny", {"titles": titles("a")}, {})
    assert lake.table("tiny", "follows").equals(FOLLOWS.empty_table())
    assert lake.events("tiny").equals(EVENTS.empty_table())
    assert lake.event_files("tiny") == []
    assert sorted(each.name for each in path.iterdir()) == ["manifest.json", "titles.parquet"]


def test_events_lie_in_one_folder_per_utc_day(lake: Lake) -> None:
    midnight = T0 - T0 % DAY
    path = lake.write("tiny", {"titles": titles("a"), "events": events(midnight - 1, midnight, -1)}, {})
    days = ["1969-12-31", "2023-11-13", "2023-11-14"]
    files = [Path(file) for file in lake.event_files("tiny")]
    assert [file.relative_to(path.resolve()) for file in files] == [
        Path(f"events/event_date={day}/part-0.parquet") for day in days
    ]


quarters = st.integers(0, 16).map(lambda n: T0 - T0 % DAY + n * DAY // 4)


@settings(max_examples=30, deadline=None)
@given(
    at_s=st.lists(quarters, max_size=30),
    start_s=st.none() | quarters | st.sampled_from([-(2**63), 2**63 - 1]),
    end_s=st.none() | quarters | st.sampled_from([-(2**63), 2**63 - 1]),
)
def test_a_window_of_events_is_half_open_sorted_and_complete(
    tmp_path_factory: pytest.TempPathFactory, at_s: list[int], start_s: int | None, end_s: int | None
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.write("tiny", {"titles": titles("a"), "events": events(*at_s)}, {})
    got = lake.events("tiny", start_s, end_s, columns=["event_id", "event_at"]).to_pylist()
    inside = [
        (at, f"e{i:03d}") for i, at in enumerate(at_s) if (start_s is None or at >= start_s) and (end_s is None or at < end_s)
    ]
    assert [(int(row["event_at"].timestamp()), row["event_id"]) for row in got] == sorted(inside)


def test_a_window_holds_its_start_and_not_its_end(lake: Lake) -> None:
    lake.write("tiny", {"titles": titles("a"), "events": events(T0, T0 + 1, T0 + DAY)}, {})
    assert lake.events("tiny", T0, T0 + DAY)["event_id"].to_pylist() == ["e000", "e001"]
    assert lake.events("tiny", T0 + 1)["event_id"].to_pylist() == ["e001", "e002"]


def test_a_day_of_several_files_is_read_in_order_too(lake: Lake, tmp_path: Path) -> None:
    lake.write("tiny", {"titles": titles("a"), "events": events(T0 + 9, T0 + 1)}, {})
    lake.write("more", {"titles": titles("a"), "events": events(T0 + 5, T0, first=10)}, {})
    target = Path(lake.event_files("tiny")[0])
    os.link(lake.event_files("more")[0], target.with_name("part-1.parquet"))
    assert lake.events("tiny", columns=["event_id"])["event_id"].to_pylist() == ["e011", "e001", "e010", "e000"]


def test_titles_keep_their_numbers_when_a_set_is_imported_again(lake: Lake) -> None:
    lake.write("tiny", {"titles": titles("c", "a", "b", name="Old")}, {})
    lake.write("tiny", {"titles": titles("d", "b", "c", "aa", name="New")}, {})
    assert lake.table("tiny", "titles")["name"].to_pylist() == ["New c", "Old a", "New b", "New d", "New aa"]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=1, max_size=3))
def test_title_numbers_only_ever_grow(tmp_path_factory: pytest.TempPathFactory, versions: list[list[str]]) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    before: list[str] = []
    for version in versions:
        lake.write("tiny", {"titles": titles(*version)}, {})
        after = lake.table("tiny", "titles")["content_id"].to_pylist()
        assert after[: len(before)] == before
        assert after[len(before) :] == [each for each in version if each not in before]
        before = after


def test_a_new_version_replaces_every_table_of_the_old_one(lake: Lake, tmp_path: Path) -> None:
    follows = pa.table({name: pa.array(["x"]) for name in FOLLOWS.names[:4]})
    lake.write("tiny", {"titles": titles("a"), "events": events(T0, T0 + DAY), "follows": follows}, {"version": 1})
    lake.write("tiny", {"titles": titles("a"), "events": events(T0)}, {"version": 2})
    assert lake.table("tiny", "follows").num_rows == 0
    assert lake.events("tiny").num_rows == 1
    assert lake.manifest("tiny")["version"] == 2
    kept = [path for path in (tmp_path / "lake").iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(kept) == 1


def test_a_missing_set_is_an_error_that_names_the_command_and_the_sets_there_are(lake: Lake, tmp_path: Path) -> None:
    lake.write("ml-100k", {"titles": titles("a")}, {})
    message = f"lake {tmp_path / 'lake'} has no data set 'ml-1m'; it has ml-100k: run `recray import ml-1m`"
    for ask in (
        lambda: lake.events("ml-1m"),
        lambda: lake.table("ml-1m", "titles"),
        lambda: lake.manifest("ml-1m"),
        lambda: lake.event_files("ml-1m"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            ask()


@pytest.mark.parametrize("damage", [b"", b"PAR1 no", None])
@pytest.mark.parametrize("table", ["titles", "availability", "events"])
def test_a_damaged_or_lost_file_is_an_error_and_never_an_empty_table(lake: Lake, table: str, damage: bytes | None) -> None:
    licences = pa.table({"content_id": ["a"], "region": ["DE"]})
    path = lake.write("tiny", {"titles": titles("a"), "availability": licences, "events": events(T0)}, {})
    file = Path(lake.event_files("tiny")[0]) if table == "events" else path / f"{table}.parquet"
    file.unlink() if damage is None else file.write_bytes(damage)
    with pytest.raises(DataError, match=r"data set 'tiny' cannot be read at .*run `recray import tiny` to write it anew"):
        lake.table("tiny", table)


def test_titles_that_cannot_be_read_are_not_numbered_anew_silently(lake: Lake) -> None:
    path = lake.write("tiny", {"titles": titles("a", "b")}, {})
    (path / "titles.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"title numbers of 'tiny' cannot be read at .*restore that file, or remove"):
        lake.write("tiny", {"titles": titles("b", "a")}, {})


def test_a_set_that_was_put_there_by_hand_is_read_but_not_replaced(lake: Lake, tmp_path: Path) -> None:
    path = lake.write("tiny", {"titles": titles("a")}, {})
    shutil.copytree(path, tmp_path / "lake" / "copy")
    assert lake.table("copy", "titles").equals(lake.table("tiny", "titles"))
    with pytest.raises(DataError, match="was not written by this lake"):
        lake.write("copy", {"titles": titles("b")}, {})
    assert lake.table("copy", "titles")["content_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("titles", {"kind": None}, "table titles has no column 'kind'; expected string: add it"),
        ("titles", {"kind": ["movie", None]}, "table titles column 'kind' is null in row 1; expected a value: reject the row"),
        ("titles", {"kind": ["movie", "opera"]}, "table titles column 'kind' has opera; expected one of movie, series,"),
        ("titles", {"maturity": ["12", "U"]}, "table titles column 'maturity' is string; expected int16: Failed to parse"),
        ("titles", {"lenght": [1, 2]}, "table titles has column 'lenght'; expected content_id, name,"),
        ("titles", {"content_id": ["a", "a"]}, "table titles has a repeated value in column 'content_id'"),
        ("events", {"action": ["play", "sleep"]}, "table events column 'action' has sleep; expected one of impression,"),
        ("events", {"device": ["tv", "fridge"]}, "table events column 'device' has fridge; expected one of other, tv,"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_column(
    lake: Lake, table: str, change: dict[str, list[Any] | None], message: str
) -> None:
    tables = {"titles": titles("a", "b"), "events": events(T0, T0)}
    for column, cells in change.items():
        if column in tables[table].column_names:
            tables[table] = tables[table].drop_columns([column])
        if cells is not None:
            tables[table] = tables[table].append_column(column, pa.array(cells))
    with pytest.raises(DataError, match=re.escape(message)):
        lake.write("tiny", tables, {})
    assert lake.names() == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a.b", "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"data set name {name!r} cannot be a folder")):
        lake.write(name, {"titles": titles("a")}, {})


def test_other_tables_than_the_schemas_are_refused(lake: Lake) -> None:
    with pytest.raises(DataError, match=re.escape(f"table 'reviews' is not one of {', '.join(TABLES)}")):
        lake.write("tiny", {"titles": titles("a"), "reviews": titles("a")}, {})
    with pytest.raises(DataError, match=r"data set tiny has the tables \['events'\]; expected at least titles"):
        lake.write("tiny", {"events": events(T0)}, {})
    lake.write("tiny", {"titles": titles("a")}, {})
    with pytest.raises(DataError, match="table 'reviews' is not one of"):
        lake.table("tiny", "reviews")
    with pytest.raises(DataError, match=r"events have no columns \['stars'\]"):
        lake.events("tiny", columns=["stars"])

import re
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from recray.data import sources
from recray.data.ingest import Ingested, ingest
from recray.errors import DataError
from recray.stores.lake import Lake

TITLES = "content_id,name,kind,genres,maturity\na,Alpha,movie,Drama,7\nb,Beta,series,Crime,18\n"
EVENTS = "event_id,user_id,profile_id,content_id,action,event_at,value,progress\n"
GOOD = "".join(f"g{n},u,main,a,play,{1_700_000_000 + n},,0.5\n" for n in range(20))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def taken(lake: Lake, max_reject_share: float = 1.0, **files: str) -> Ingested:
    folder = lake.root.parent / "files"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    raw = sources.read(sources.FILES, folder, folder)
    return ingest(lake, "set", raw, max_reject_share=max_reject_share, report=lambda _: None)


def rejects(lake: Lake) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in pq.read_table(lake.root / "set.rejects.parquet").to_pylist()]


def test_each_broken_rule_refuses_its_row_with_a_reason(lake: Lake) -> None:
    bad = (
        "1,u,main,a,stare,1700000000,,\n"
        "2,u,main,a,play,-5,,\n"
        "3,u,main,a,play,2106-01-01,,\n"
        "4,u,main,zz,play,1700000000,,\n"
        "5,u,main,a,rate,1700000000,5.5,\n"
        "6,u,main,a,rate,1700000000,,\n"
        "7,u,main,a,progress,1700000000,,1.2\n"
        "8,u,main,a,play,,,\n"
        "9,,main,a,play,1700000000,,\n"
    )
    result = taken(lake, titles=TITLES, events=EVENTS + bad + GOOD)
    assert sorted(rejects(lake)) == sorted(
        [
            (
                "events.csv",
                2,
                "action",
                "not one of impression, click, play, progress, complete, rate, like, dislike, add, remove, search, hide",
            ),
            ("events.csv", 3, "event_at", "before 1970 or after 2105"),
            ("events.csv", 4, "event_at", "before 1970 or after 2105"),
            ("events.csv", 5, "content_id", "unknown title"),
            ("events.csv", 6, "value", "a rating is 0 to 5 stars"),
            ("events.csv", 7, "value", "a rating is 0 to 5 stars"),
            ("events.csv", 8, "progress", "not a share of 0 to 1"),
            ("events.csv", 9, "event_at", "required, but empty"),
            ("events.csv", 10, "user_id", "required, but empty"),
        ]
    )
    assert result.rows["events"] == 20
    assert result.rejects["events.csv.content_id: unknown title"] == 1


def test_repeated_event_ids_keep_the_first_event_and_are_counted(lake: Lake) -> None:
    result = taken(lake, titles=TITLES, events=EVENTS + "x,u,main,a,play,5,,\nx,u,main,b,play,6,,\n")
    assert result.duplicates == 1
    assert lake.events("set")["content_id"].to_pylist() == ["a"]


def test_profiles_that_only_events_name_are_created(lake: Lake) -> None:
    result = taken(lake, titles=TITLES, events=EVENTS + GOOD, profiles="user_id,profile_id\nother,main\n")
    assert result.profiles_created == 1
    assert lake.table("set", "profiles")["user_id"].to_pylist() == ["other", "u"]


@pytest.mark.parametrize("limit", ["seven", "99"])
def test_a_profile_whose_limit_was_refused_does_not_return_without_it(lake: Lake, limit: str) -> None:
    events = EVENTS + GOOD + "k,u,kid,b,play,1700000000,,\n"
    taken(lake, titles=TITLES, events=events, profiles=f"user_id,profile_id,maturity_limit\nu,kid,{limit}\nu,main,\n")
    assert lake.table("set", "profiles")["profile_id"].to_pylist() == ["main"]
    assert ("events.csv", 22, "profile_id", "the profile's own row was refused") in rejects(lake)


def test_too_many_refused_rows_stop_the_import_and_stay_to_be_looked_at(lake: Lake) -> None:
    events = EVENTS + GOOD + "1,u,main,zz,play,1700000000,,\n2,u,main,zz,play,1700000000,,\n"
    expected = (
        "2 of 22 rows of events.csv were refused (9.1%), expected at most 5.0%: "
        f"content_id: unknown title (2 rows, first row 22); mend the rows listed in {lake.root / 'set.rejects.parquet'}, "
        "or allow a larger share"
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        taken(lake, 0.05, titles=TITLES, events=events)
    assert lake.names() == []
    assert len(rejects(lake)) == 2
    taken(lake, 0.10, titles=TITLES, events=events)
    assert lake.names() == ["set"]


def test_a_table_that_is_refused_stops_the_import_however_many_events_are_good(lake: Lake) -> None:
    with pytest.raises(DataError, match=r"1 of 3 rows of titles.csv were refused \(33.3%\)"):
        taken(lake, 0.05, titles=TITLES + "c,Gamma,poster,Drama,7\n", events=EVENTS + GOOD)


def test_a_clean_import_removes_the_rejects_of_an_earlier_one(lake: Lake) -> None:
    taken(lake, titles=TITLES + "a,Again,movie,Drama,7\n")
    assert rejects(lake) == [("titles.csv", 4, "content_id", "the id appears again; the first row is kept")]
    taken(lake, titles=TITLES)
    assert not (lake.root / "set.rejects.parquet").exists()


def test_the_manifest_says_what_was_imported(lake: Lake) -> None:
    taken(lake, titles=TITLES, events=EVENTS + GOOD)
    manifest = lake.manifest("set")
    assert manifest["rows"] == {"titles": 2, "availability": 0, "profiles": 1, "events": 20, "follows": 0}
    assert manifest["window"] == {"first_event_at": "2023-11-14T22:13:20+00:00", "last_event_at": "2023-11-14T22:13:39+00:00"}
    assert manifest["schema_version"] == 1
    assert manifest["simulated"] == []
    assert len(manifest["sha256"]) == 64


def test_licences_and_follows_are_judged_too(lake: Lake) -> None:
    taken(
        lake,
        titles=TITLES,
        profiles="user_id,profile_id\nu,main\nv,main\n",
        availability="content_id,region,start_at,end_at\na,US,,\nb,US,2024-02-01,2024-01-01\nzz,US,,\n",
        follows="user_id,profile_id,followed_user_id,followed_profile_id\nu,main,v,main\nu,main,u,main\nu,main,w,main\n",
    )
    assert [(file, row, reason) for file, row, _, reason in rejects(lake)] == [
        ("availability.csv", 3, "not after start_at"),
        ("availability.csv", 4, "unknown title"),
        ("follows.csv", 3, "a profile follows itself"),
        ("follows.csv", 4, "unknown profile"),
    ]


def test_a_set_without_titles_is_no_set(lake: Lake) -> None:
    with pytest.raises(DataError, match="no title is left to import"):
        taken(lake, titles="content_id,name,kind,genres\n")


def test_rows_of_an_adapter_without_origins_are_numbered_from_1(lake: Lake, small_100k: Path) -> None:
    raw = sources.read("ml-100k", small_100k, lake.root)
    titles = pl.DataFrame({"content_id": raw.tables["titles"]["content_id"].to_pylist()})
    assert titles["content_id"].to_list() == ["1", "2", "3", "4"]
    tables = {**raw.tables, "titles": raw.tables["titles"].slice(1)}
    ingest(lake, "set", type(raw)(tables, "here", "none", "", ""), max_reject_share=1.0, report=lambda _: None)
    assert rejects(lake) == [("events", 1, "content_id", "unknown title")]

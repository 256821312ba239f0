from pathlib import Path

import polars as pl
import pytest

from recray.data import sources
from recray.data.raw import RawTables
from recray.errors import DataError

TITLES = "content_id,name,kind,genres\na,Alpha,movie,Drama|Crime\nb,Beta,series,\n"


def read(folder: Path, **files: str) -> RawTables:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return sources.read(sources.FILES, folder, folder)


def faults(raw: RawTables) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in raw.rejects.to_pylist()]


def times(folder: Path, *written: str) -> list[object]:
    rows = "".join(f"e{n},u,p,a,play,{at}\n" for n, at in enumerate(written))
    raw = read(folder, titles=TITLES, events=f"event_id,user_id,profile_id,content_id,action,event_at\n{rows}")
    return [at.isoformat() for at in raw.tables["events"]["event_at"].to_pylist()]


def test_optional_columns_may_be_missing_and_lists_are_parted_by_bars(tmp_path: Path) -> None:
    raw = read(
        tmp_path, titles="name,kind,genres,content_id,localized_names,cast\nAlpha,movie,Drama| Crime ,a,fr=Alfa|de=Al,\n"
    )
    title = raw.tables["titles"].to_pylist()[0]
    assert title["genres"] == ["Drama", "Crime"]
    assert title["localized_names"] == [("fr", "Alfa"), ("de", "Al")]
    assert title["cast"] is None
    assert title["maturity"] is None
    assert raw.tables["events"].num_rows == 0


def test_times_are_iso_8601_or_epoch_seconds_or_milliseconds(tmp_path: Path) -> None:
    assert times(
        tmp_path,
        "2024-05-01",
        "2024-05-01 10:00",
        "2024-05-01T10:00:00.5Z",
        "2024-05-01T10:00:00+02:00",
        "1714557600",
        "1714557600250",
    ) == [
        "2024-05-01T00:00:00+00:00",
        "2024-05-01T10:00:00+00:00",
        "2024-05-01T10:00:00.500000+00:00",
        "2024-05-01T08:00:00+00:00",
        "2024-05-01T10:00:00+00:00",
        "2024-05-01T10:00:00.250000+00:00",
    ]


def test_a_bad_row_is_refused_with_file_row_column_and_reason(tmp_path: Path) -> None:
    raw = read(
        tmp_path,
        titles="content_id,name,kind,genres,maturity,release_date\n"
        "a,Alpha,movie,Drama,12,2001-02-03\n"
        "b,Beta,movie,Drama,twelve,\n"
        "c,,movie,Drama,7,\n"
        "d,Delta,movie,Drama,7.5,yesterday\n"
        "e,Epsilon,movie,Drama,7,yesterday\n"
        "f,Phi,movie\n"
        "g,Gamma,movie,Drama,7,\n",
    )
    assert raw.tables["titles"]["content_id"].to_pylist() == ["a", "g"]
    assert faults(raw) == [
        ("titles.csv", 7, "*", "expected 6 fields, as many as the header has"),
        ("titles.csv", 3, "maturity", "not a whole number of int16"),
        ("titles.csv", 4, "name", "required, but empty"),
        ("titles.csv", 5, "release_date", "not a date (YYYY-MM-DD)"),
        ("titles.csv", 6, "release_date", "not a date (YYYY-MM-DD)"),
    ]
    assert raw.origins["titles"].rows is not None
    assert raw.origins["titles"].rows.tolist() == [2, 8]


def test_an_unreadable_profile_is_remembered_as_refused(tmp_path: Path) -> None:
    raw = read(tmp_path, titles=TITLES, profiles="user_id,profile_id,maturity_limit\nu,kid,seven\nu,main,\n")
    assert raw.refused == {"u/kid"}
    assert raw.tables["profiles"]["profile_id"].to_pylist() == ["main"]


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    folder = tmp_path / "parquet"
    folder.mkdir()
    pl.DataFrame(
        {"content_id": ["a", "b"], "name": ["Alpha", "Beta"], "kind": ["movie", "series"], "genres": [["Drama", "Crime"], []]}
    ).write_parquet(folder / "titles.parquet")
    from_parquet = sources.read(sources.FILES, folder, folder).tables["titles"]
    (tmp_path / "csv").mkdir()
    from_csv = read(tmp_path / "csv", titles=TITLES).tables["titles"]
    assert from_parquet["genres"].to_pylist()[0] == from_csv["genres"].to_pylist()[0]
    assert from_parquet.drop_columns("genres").equals(from_csv.drop_columns("genres"))


def test_columns_that_nobody_knows_are_named(tmp_path: Path) -> None:
    raw = read(tmp_path, titles="content_id,name,kind,genres,colour\na,Alpha,movie,Drama,red\n")
    assert raw.ignored == ("titles.colour",)


def test_a_title_may_have_no_genre(tmp_path: Path) -> None:
    assert read(tmp_path, titles=TITLES).tables["titles"]["genres"].to_pylist() == [["Drama", "Crime"], []]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no titles.csv or titles.parquet"),
        (
            {"titles": "content_id,name,kind\na,Alpha,movie\n"},
            "titles.csv lacks the required columns genres; it has content_id, name, kind",
        ),
        ({"titles": ""}, "titles.csv cannot be read"),
    ],
)
def test_what_cannot_be_a_data_set_says_why(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **files)


def test_two_files_of_one_table_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"content_id": ["a"]}).write_parquet(tmp_path / "titles.parquet")
    with pytest.raises(DataError, match=r"titles.csv and titles.parquet; expected one file of titles"):
        read(tmp_path, titles=TITLES)

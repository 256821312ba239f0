from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from recray.data import movielens, sources
from recray.data.archive import Archive
from recray.errors import DataError

Zipped = Callable[..., Path]


def column(tables: dict[str, pa.Table], table: str, name: str) -> list[object]:
    return list(tables[table][name].to_pylist())


def test_100k_gives_names_dates_genres_and_ages(small_100k: Path) -> None:
    tables = movielens.read_100k(Archive(small_100k))
    assert column(tables, "titles", "name") == ["The Matrix", "Les Misérables", "unknown", "Taxi Driver"]
    assert [str(day) for day in column(tables, "titles", "release_date")] == ["1999-03-31", "1995-10-20", "None", "1976-01-01"]
    assert column(tables, "titles", "genres") == [["Action"], ["Children's"], [], ["Action", "Children's"]]
    assert column(tables, "profiles", "age_group") == ["under-18", "18-24", "56-plus"]
    assert column(tables, "titles", "added_at") == [None] * 4


def test_sorting_by_time_and_id_keeps_the_raw_order_among_ties(small_100k: Path) -> None:
    events = pl.DataFrame(pl.from_arrow(movielens.read_100k(Archive(small_100k))["events"]))
    assert events.sort("event_at", "event_id")["content_id"].to_list() == ["3", "1", "2"]
    assert events["value"].to_list() == [5, 3, 1]
    assert events["action"].unique().to_list() == ["rate"]


def test_the_wheels_copy_of_100k_gives_the_same_events_and_profiles(small_100k: Path, carried_100k: Path) -> None:
    carried = movielens.read_recbole_100k(Archive(carried_100k))
    original = movielens.read_100k(Archive(small_100k))
    for table in ("events", "profiles"):
        assert carried[table].equals(original[table])
    assert column(carried, "titles", "genres") == column(original, "titles", "genres")
    assert column(carried, "titles", "name")[:2] == column(original, "titles", "name")[:2]


def test_1m_reads_double_colons_latin_1_and_age_codes(tmp_path: Path, zipped: Zipped) -> None:
    path = zipped(
        tmp_path / "ml-1m.zip",
        {
            "ml-1m/movies.dat": '1::Amélie, "x" (2001)::Comedy|Romance\n2::Enfer, L\' (1994)::Drama\n',
            "ml-1m/users.dat": "".join(f"{n}::F::{age}::1::0\n" for n, age in enumerate((1, 18, 25, 35, 45, 50, 56))),
            "ml-1m/ratings.dat": "0::1::5::978300760\n",
        },
        "latin-1",
    )
    tables = movielens.read_1m(Archive(path))
    assert column(tables, "titles", "name") == ['Amélie, "x"', "L'Enfer"]
    assert column(tables, "profiles", "age_group") == ["under-18", "18-24", "25-34", "35-44", "45-49", "50-55", "56-plus"]


def test_csv_family_takes_profiles_from_ratings_and_keeps_half_stars(tmp_path: Path, zipped: Zipped) -> None:
    members = {
        "ml-x/ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.5,964982703\n7,2,1.0,964982703\n",
        "ml-x/movies.csv": 'movieId,title,genres\n1,"American President, The (1995)",Comedy|Drama\n'
        "2,Untitled,(no genres listed)\n",
    }
    tables = movielens.read_csv_family(Archive(zipped(tmp_path / "ml-x.zip", members)))
    assert column(tables, "titles", "name") == ["The American President", "Untitled"]
    assert column(tables, "titles", "genres") == [["Comedy", "Drama"], []]
    assert column(tables, "events", "value") == [4.5, 1.0]
    assert column(tables, "profiles", "user_id") == ["7"]


def test_a_missing_column_names_what_is_there(tmp_path: Path, zipped: Zipped) -> None:
    path = zipped(
        tmp_path / "a.zip", {"ratings.csv": "userId,movieId,timestamp\n1,1,1\n", "movies.csv": "movieId,title,genres\n"}
    )
    with pytest.raises(DataError, match=r"ratings.csv in .*a.zip lacks rating; it has userId, movieId, timestamp"):
        movielens.read_csv_family(Archive(path))


def test_a_headless_file_of_other_width_is_refused(tmp_path: Path, zipped: Zipped) -> None:
    path = zipped(tmp_path / "ml-1m.zip", {"movies.dat": "1::A::B::C\n", "users.dat": "", "ratings.dat": ""})
    with pytest.raises(DataError, match=r"movies.dat in .* has 4 fields, expected 3 \(item, title, genres\)"):
        movielens.read_1m(Archive(path))


PUBLISHED = [("ml-100k", 1682, 943, 100_000), ("ml-latest-small", 9742, 610, 100_836)]


@pytest.mark.parametrize(("name", "titles", "profiles", "events"), PUBLISHED)
def test_the_publishers_archive_has_its_published_counts(
    data_dir: Path, name: str, titles: int, profiles: int, events: int
) -> None:
    if not (data_dir / f"{name}.zip").exists():
        pytest.skip(f"{name}.zip is not in {data_dir}")
    tables = sources.read(name, None, data_dir).tables
    assert [tables[table].num_rows for table in ("titles", "profiles", "events")] == [titles, profiles, events]
    ids = tables["events"]["event_id"].to_pylist()
    assert len(set(ids)) == events
    assert ids == sorted(ids)

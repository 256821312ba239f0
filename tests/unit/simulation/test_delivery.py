import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recray.data.raw import RawTables, complete, conform
from recray.schema import DEVICE_OF
from recray.simulation.delivery import CHILD_LIMIT, REGIONS, draws, simulate

N_PROFILES, N_TITLES, N_EVENTS = 600, 400, 6_000


@pytest.fixture(scope="module")
def rated() -> RawTables:
    """Ratings as MovieLens gives them, without any delivery fact."""
    generator = np.random.default_rng(1)
    genres = [["Children's"], ["Horror"], ["Drama", "Comedy"], []]
    titles = pl.DataFrame(
        {
            "content_id": [f"t{n}" for n in range(N_TITLES)],
            "name": ["x"] * N_TITLES,
            "kind": ["movie"] * N_TITLES,
            "genres": [genres[n % len(genres)] for n in range(N_TITLES)],
        }
    )
    profiles = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(N_PROFILES)],
            "profile_id": ["main"] * N_PROFILES,
            "age_group": ["under-18" if n % 4 == 0 else "25-34" for n in range(N_PROFILES)],
        }
    )
    events = pl.DataFrame(
        {
            "event_id": [f"{n:06d}" for n in range(N_EVENTS)],
            "user_id": [f"u{n}" for n in generator.integers(0, N_PROFILES, N_EVENTS)],
            "profile_id": ["main"] * N_EVENTS,
            "content_id": [f"t{n}" for n in generator.integers(0, N_TITLES, N_EVENTS)],
            "action": ["rate"] * N_EVENTS,
            "event_at": pl.Series(np.sort(generator.integers(0, 10**9, N_EVENTS)) * 1000).cast(pl.Datetime("ms", "UTC")),
            "value": generator.integers(1, 6, N_EVENTS).astype(np.float32),
        }
    )
    tables = {"titles": titles, "profiles": profiles, "events": events}
    return RawTables(complete({name: conform(name, frame) for name, frame in tables.items()}), "", "", "", "")


@pytest.fixture(scope="module")
def delivered(rated: RawTables) -> RawTables:
    return simulate(rated, 7)


def frame(raw: RawTables, table: str) -> pl.DataFrame:
    rows = raw.tables[table]
    return pl.DataFrame(pl.from_arrow(rows.drop_columns([c for c in rows.column_names if c == "localized_names"])))


def test_no_title_no_event_and_no_real_column_changes(rated: RawTables, delivered: RawTables) -> None:
    for table in ("titles", "profiles", "events", "follows"):
        touched = {name.split(".")[1] for name in delivered.simulated if name.startswith(f"{table}.")}
        real = [name for name in rated.tables[table].column_names if name not in touched]
        assert delivered.tables[table].select(real).equals(rated.tables[table].select(real))
        assert delivered.tables[table].schema.equals(rated.tables[table].schema)


def test_every_simulated_column_is_named_and_filled(delivered: RawTables) -> None:
    assert set(delivered.simulated) == {
        *(f"profiles.{column}" for column in ("country", "language", "maturity_limit")),
        *(f"titles.{column}" for column in ("maturity", "duration_min", "original_language", "languages")),
        *(f"events.{column}" for column in ("device", "progress", "watch_s")),
        *(f"availability.{column}" for column in ("content_id", "region")),
    }
    for name in set(delivered.simulated) - {"profiles.maturity_limit"}:
        table, column = name.split(".")
        assert delivered.tables[table][column].null_count == 0, name


def test_what_a_set_knows_is_kept(rated: RawTables) -> None:
    known = pl.DataFrame({"content_id": ["t0"], "region": ["NZ"]})
    titles = rated.tables["titles"]
    maturity = pa.array([3, *[None] * (N_TITLES - 1)], pa.int16())
    titles = titles.set_column(titles.schema.get_field_index("maturity"), titles.schema.field("maturity"), maturity)
    tables = {**rated.tables, "titles": titles, "availability": conform("availability", known)}
    got = simulate(dataclasses.replace(rated, tables=tables), 7)
    assert got.tables["availability"].num_rows == 1
    assert got.tables["titles"]["maturity"].to_pylist()[0] == 3
    assert "titles.maturity" in got.simulated
    assert not any(name.startswith("availability") for name in got.simulated)


def test_the_same_seed_gives_the_same_tables_and_another_seed_others(rated: RawTables, delivered: RawTables) -> None:
    again, other = simulate(rated, 7), simulate(rated, 8)
    assert all(again.tables[name].equals(delivered.tables[name]) for name in delivered.tables)
    assert all(
        not other.tables[name].equals(delivered.tables[name]) for name in ("titles", "profiles", "events", "availability")
    )


def test_a_profile_keeps_its_country_when_the_set_around_it_changes(rated: RawTables, delivered: RawTables) -> None:
    part = dataclasses.replace(rated, tables={**rated.tables, "profiles": rated.tables["profiles"].slice(100, 50)})
    got = simulate(part, 7).tables["profiles"]
    assert got.equals(delivered.tables["profiles"].slice(100, 50))


def test_titles_miss_some_regions_and_never_all(delivered: RawTables) -> None:
    per_title = frame(delivered, "availability").group_by("content_id").len()
    assert len(per_title) == N_TITLES
    missing = 1 - per_title["len"].sum() / (N_TITLES * len(REGIONS))
    assert 0.05 < missing < 0.11


def test_maturity_follows_the_genres(delivered: RawTables) -> None:
    titles = frame(delivered, "titles").with_columns(first=pl.col("genres").list.first())
    mean = dict(titles.group_by("first").agg(pl.col("maturity").mean()).iter_rows())
    assert titles.filter(pl.col("first") == "Children's")["maturity"].max() == 7
    assert mean["Children's"] < mean["Drama"] < mean["Horror"]


def test_only_minors_get_a_childs_limit_and_not_all_of_them(delivered: RawTables) -> None:
    profiles = frame(delivered, "profiles")
    minors = profiles.filter(pl.col("age_group") == "under-18")["maturity_limit"]
    assert profiles.filter(pl.col("age_group") != "under-18")["maturity_limit"].null_count() == N_PROFILES * 3 // 4
    assert 0.3 < minors.is_not_null().mean() < 0.7
    assert set(minors.drop_nulls()) == {CHILD_LIMIT}


def test_what_was_rated_higher_is_finished_more_often(delivered: RawTables) -> None:
    finished = (
        frame(delivered, "events").group_by("value").agg((pl.col("progress") > 0.9).mean()).sort("value")["progress"].to_list()
    )
    assert finished == sorted(finished)
    assert finished[0] < 0.5 < finished[-1]


def test_television_is_for_the_evening(delivered: RawTables) -> None:
    events = frame(delivered, "events").join(frame(delivered, "profiles"), on="user_id")
    offset = pl.col("country").replace_strict({region.name: region.utc_offset_h for region in REGIONS})
    hour = (pl.col("event_at").dt.hour().cast(pl.Int64) + offset) % 24
    tv = events.group_by(evening=hour >= 18).agg((pl.col("device") == "tv").mean()).sort("evening")["device"]
    assert tv[1] > 1.5 * tv[0]
    assert set(events["device"]) == set(DEVICE_OF)


def test_draws_are_uniform_and_depend_on_seed_and_purpose() -> None:
    keys = [str(n) for n in range(4_000)]
    numbers = draws(keys, 1, "a", 8)
    assert numbers.shape == (4_000, 8)
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.03
    assert (numbers != draws(keys, 1, "b", 8)).all()
    assert (numbers != draws(keys, 2, "a", 8)).all()
    assert (draws(keys[:3], 1, "a", 8) == numbers[:3]).all()


def test_real_ratings_get_delivery_facts(data_dir: Path) -> None:
    if not (data_dir / "ml-100k.zip").exists():
        pytest.skip(f"ml-100k.zip is not in {data_dir}")
    from recray.data import sources

    got = simulate(sources.read("ml-100k", None, data_dir), 1)
    assert got.tables["events"].num_rows == 100_000
    assert got.tables["events"]["device"].null_count == 0

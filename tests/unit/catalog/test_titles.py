"""Tables as arrays: the catalogue with its statistics, its files, interactions, packed words."""

import datetime as dt
import re
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.catalog.titles import build_items, from_files, to_files
from recray.errors import DataError, ModelError
from recray.features.interactions import Interactions
from recray.features.items import FOREVER, LONG_AGO, Items
from recray.schema import AVAILABILITY, Kind

from .conftest import NOW, moment, table_of

DAY = 86_400


def plays(n_items: int, *rows: tuple[int, int, float, float, float, int]) -> Interactions:
    """Rows of (item, at_s, weight, rating, progress, region), all of one profile."""
    item, at_s, weight, rating, progress, region = zip(*rows, strict=True) if rows else ((),) * 6
    return Interactions(
        np.zeros(len(rows), np.int32),
        np.array(item, np.int32),
        np.array(at_s, np.int64),
        np.array(weight, np.float32),
        np.array(rating, np.float32),
        np.array(progress, np.float32),
        np.array(region, np.int32),
        1,
        n_items,
    )


def build(titles: pa.Table, watched: Interactions | None = None, availability: pa.Table | None = None) -> Items:
    n = titles.num_rows
    return build_items(
        titles,
        AVAILABILITY.empty_table() if availability is None else availability,
        plays(n) if watched is None else watched,
        NOW,
        np.eye(max(n, 1), 3, dtype=np.float32)[:n],
    )


def test_facts_of_a_title_are_read_and_the_unknown_ones_marked() -> None:
    items = build(
        table_of(
            "titles",
            content_id=["a", "b"],
            kind=["series", "movie"],
            genres=[["Drama", "Comedy"], []],
            release_date=[dt.date(1960, 1, 2), None],
            added_at=[moment(1_000.999), None],
            original_language=["fr", None],
            languages=[["fr", "de", "en"], None],
            duration_min=[90.5, None],
            priority=[2.0, None],
            maturity=[6, None],
        )
    )
    assert items.content_ids == ("a", "b")
    assert items.kind.tolist() == [Kind.SERIES, Kind.MOVIE]
    assert items.genre_names == ("Comedy", "Drama")
    assert items.genres.tolist() == [[True, True], [False, False]]
    assert items.release_at_s.tolist() == [(dt.date(1960, 1, 2) - dt.date(1970, 1, 1)).days * DAY, LONG_AGO]
    assert items.added_at_s.tolist() == [1_000, LONG_AGO]
    assert items.language_names == ("fr",)
    assert items.language.tolist() == [0, -1]
    assert items.n_languages.tolist() == [3, 0]
    np.testing.assert_array_equal(items.duration_s, [5430, np.nan])
    assert items.priority.tolist() == [2, 1]
    assert items.maturity.tolist() == [6, 18]


def test_a_title_that_lists_no_languages_has_its_original_one() -> None:
    titles = table_of("titles", content_id=["a", "b"], original_language=["fr", None], languages=[[], []])
    assert build(titles).n_languages.tolist() == [1, 0]


def test_maturity_hides_nothing_in_a_set_without_certificates() -> None:
    assert build(table_of("titles", content_id=["a", "b"])).maturity.tolist() == [0, 0]


def test_play_windows_are_half_open_and_sum_weights() -> None:
    known = float("nan")
    watched = plays(
        2,
        (0, NOW - 31 * DAY, 1.0, known, known, -1),
        (0, NOW - 30 * DAY, 1.0, known, known, -1),
        (0, NOW - 7 * DAY - 1, 0.5, known, known, -1),
        (0, NOW - 7 * DAY, 0.25, known, known, -1),
        (0, NOW - 1, 1.0, known, known, -1),
        (1, NOW, 1.0, 5.0, 1.0, -1),
    )
    items = build(table_of("titles", content_id=["a", "b"]), watched)
    assert items.plays.tolist() == [[1.25, 2.75, 3.75], [0, 0, 0]]
    assert items.rating.tolist() == [3.0, 3.0]
    assert items.completion.tolist() == [0.5, 0.5]


def test_means_are_shrunk_to_the_catalogues_mean_over_what_is_known() -> None:
    unknown = float("nan")
    watched = plays(
        3,
        (0, NOW - 9, 1.0, 5.0, unknown, -1),
        (0, NOW - 8, 1.0, 5.0, 0.2, -1),
        (1, NOW - 7, 1.0, 2.0, 0.6, -1),
        (1, NOW - 6, 1.0, unknown, unknown, -1),
    )
    items = build(table_of("titles", content_id=["a", "b", "c"]), watched)
    np.testing.assert_allclose(items.rating, [(10 + 40) / 12, (2 + 40) / 11, 4.0], rtol=1e-6)
    np.testing.assert_allclose(items.completion, [(0.2 + 4) / 11, (0.6 + 4) / 11, 0.4], rtol=1e-6)


def test_regional_plays_halve_in_thirty_days_and_leave_out_unknown_regions() -> None:
    unknown = float("nan")
    licences = table_of("availability", content_id=["a", "a"], region=["US", "DE"])
    watched = plays(
        2,
        (0, NOW - 30 * DAY, 1.0, unknown, unknown, 1),
        (1, NOW - 60 * DAY, 0.4, unknown, unknown, 0),
        (1, NOW - 1, 1.0, unknown, unknown, -1),
    )
    items = build(table_of("titles", content_id=["a", "b"]), watched, licences)
    assert items.region_names == ("DE", "US")
    np.testing.assert_allclose(items.regional_plays, [[0, 0.1], [0.5, 0]], rtol=1e-6)


def test_content_or_plays_of_another_catalogue_are_refused() -> None:
    titles = table_of("titles", content_id=["a", "b"])
    none = AVAILABILITY.empty_table()
    message = "catalogue has 2 titles, content vectors are for 3 and plays for 2; expected all of one data set"
    with pytest.raises(DataError, match=re.escape(message)):
        build_items(titles, none, plays(2), NOW, np.zeros((3, 4), np.float32))
    with pytest.raises(DataError, match="content vectors are for 2 and plays for 9"):
        build_items(titles, none, plays(9), NOW, np.zeros((2, 4), np.float32))


def test_an_empty_catalogue_has_empty_arrays() -> None:
    items = build(table_of("titles", content_id=[]))
    assert items.n == 0
    assert items.plays.shape == (0, 3)
    licences = table_of("availability", content_id=["gone"], region=["DE"])
    assert build(table_of("titles", content_id=[]), availability=licences).available_from_s.shape == (1, 0)


windows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "gone"]),
        st.sampled_from(["DE", "US"]),
        st.none() | st.integers(NOW - 9, NOW + 9),
        st.none() | st.integers(NOW - 9, NOW + 9),
    ),
    max_size=9,
)


@settings(deadline=None)
@given(windows)
def test_a_title_is_licensed_now_exactly_where_a_window_contains_now(rows: list[tuple[str, str, Any, Any]]) -> None:
    licences = table_of(
        "availability",
        content_id=[row[0] for row in rows],
        region=[row[1] for row in rows],
        start_at=[moment(row[2]) for row in rows],
        end_at=[moment(row[3]) for row in rows],
    )
    items = build(table_of("titles", content_id=["a", "b"]), availability=licences)
    assert items.region_names == tuple(sorted({row[1] for row in rows}))
    for number, region in enumerate(items.region_names):
        for title, content_id in enumerate("ab"):
            covered = {
                at
                for c, r, start, end in rows
                for at in range(NOW - 10, NOW + 11)
                if (c, r) == (content_id, region) and (start is None or start <= at) and (end is None or at < end)
            }
            kept = {
                at
                for at in range(NOW - 10, NOW + 11)
                if items.available_from_s[number, title] <= at < items.available_until_s[number, title]
            }
            assert kept == interval(covered)


def interval(covered: set[int]) -> set[int]:
    """Of the moments a title is licensed at, the unbroken stretch that contains NOW, else the next, else the last."""
    ahead = [at for at in covered if at >= NOW]
    if not covered:
        return set()
    start = end = min(ahead) if ahead else max(covered)
    while start - 1 in covered:
        start -= 1
    while end + 1 in covered:
        end += 1
    return set(range(start, end + 1))


@pytest.mark.parametrize(
    ("stretches", "kept"),
    [
        ([(5, 9), (2, 4), (-3, -1)], (2, 4)),
        ([(-9, -7), (-3, -1)], (-3, -1)),
        ([(-3, 0), (2, 4)], (2, 4)),
        ([(-3, 1), (2, 4)], (-3, 1)),
        ([(0, 1), (1, 3), (2, 8), (4, 5)], (0, 8)),
        ([(4, 2)], (FOREVER - NOW, LONG_AGO - NOW)),
    ],
)
def test_of_separate_licences_the_current_one_counts_else_the_next_else_the_last(
    stretches: list[tuple[int, int]], kept: tuple[int, int]
) -> None:
    licences = table_of(
        "availability",
        content_id=["a"] * len(stretches),
        region=["DE"] * len(stretches),
        start_at=[moment(NOW + start) for start, _ in stretches],
        end_at=[moment(NOW + end) for _, end in stretches],
    )
    items = build(table_of("titles", content_id=["a"]), availability=licences)
    assert (int(items.available_from_s[0, 0]) - NOW, int(items.available_until_s[0, 0]) - NOW) == kept


def test_open_ends_of_a_licence_reach_for_ever() -> None:
    licences = table_of("availability", content_id=["a"], region=["DE"])
    items = build(table_of("titles", content_id=["a", "b"]), availability=licences)
    assert items.available_from_s.tolist() == [[LONG_AGO, FOREVER]]
    assert items.available_until_s.tolist() == [[FOREVER, LONG_AGO]]


@pytest.fixture
def catalogue() -> tuple[Items, pa.Table]:
    titles = table_of(
        "titles",
        content_id=["a", "b", "ç"],
        genres=[["Drama"], ["Comedy", "Drama"], []],
        localized_names=[[("de", "Ä")], None, []],
        original_language=["en", None, "日本"],
        duration_min=[1.5, None, 3.0],
    )
    licences = table_of("availability", content_id=["a", "b"], region=["DE", "US"], end_at=[moment(NOW), None])
    return build(titles, plays(3, (0, NOW - 5, 0.3, 4.0, 0.5, 1)), licences), titles


def same(one: Items, other: Items) -> None:
    for part in fields(Items):
        ours, theirs = getattr(one, part.name), getattr(other, part.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype, part.name
            np.testing.assert_array_equal(ours, theirs, err_msg=part.name, strict=True)
        else:
            assert ours == theirs, part.name


def test_a_catalogue_comes_back_from_its_files_as_it_was(catalogue: tuple[Items, pa.Table]) -> None:
    files = to_files(*catalogue)
    assert set(files) == {"titles.parquet", "items.safetensors", "items.json"}
    items, titles = from_files(files | {"ranker.json": b"{}"})
    same(items, catalogue[0])
    assert titles.equals(catalogue[1])
    assert to_files(items, titles) == files


def test_a_catalogue_without_regions_or_titles_comes_back_too() -> None:
    for ids in ([], ["a"]):
        titles = table_of("titles", content_id=ids)
        items, _ = from_files(to_files(build(titles), titles))
        same(items, build(titles))


def test_files_are_not_made_of_a_table_in_another_order(catalogue: tuple[Items, pa.Table]) -> None:
    items, titles = catalogue
    with pytest.raises(DataError, match="titles table of 3 rows does not hold the 3 titles of items in their order"):
        to_files(items, titles.take([1, 0, 2]))


@pytest.mark.parametrize("name", ["titles.parquet", "items.safetensors", "items.json"])
def test_a_truncated_or_missing_file_is_a_model_error(catalogue: tuple[Items, pa.Table], name: str) -> None:
    files = to_files(*catalogue)
    for length in {0, 1, 7, 8, 9, len(files[name]) // 2, len(files[name]) - 1}:
        with pytest.raises(ModelError, match=r"catalogue files .* cannot be read: .*train a new bundle"):
            from_files(files | {name: files[name][:length]})
    del files[name]
    with pytest.raises(ModelError, match=f"cannot be read: KeyError\\('{re.escape(name)}'\\)"):
        from_files(files)


def test_files_of_different_catalogues_do_not_mix(catalogue: tuple[Items, pa.Table]) -> None:
    shorter = table_of("titles", content_id=["a"])
    files = to_files(*catalogue) | {"titles.parquet": to_files(build(shorter), shorter)["titles.parquet"]}
    with pytest.raises(ModelError, match=re.escape("catalogue array kind has shape (3,); expected (1,): train a new bundle")):
        from_files(files)

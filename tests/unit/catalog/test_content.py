"""Content vectors: like titles lie close, unknown ones nowhere, the same every time."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.catalog.content import content_vectors

from .conftest import table_of


@pytest.fixture
def titles() -> pa.Table:
    return table_of(
        "titles",
        content_id=["heist", "heist-2", "cartoon", "cartoon-2", "unknown", "alone"],
        genres=[["Crime", "Drama"], ["Crime"], ["Animation", "Children"], ["Animation"], [], ["Ballet"]],
        directors=[["Mann"], ["Mann"], None, [], None, None],
        cast=[["Pacino", "Kilmer"], ["Pacino"], ["Hanks"], ["Hanks"], None, None],
        original_language=["en", "en", "ja", "ja", None, None],
        synopsis=["A thief robs a bank.", "The bank and the detective.", "Toys come alive.", "Alive toys!", None, ""],
    )


def test_titles_that_share_people_genres_and_plot_lie_closest(titles: pa.Table) -> None:
    vectors = content_vectors(titles, 4, seed=1)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    assert likeness[:4].argmax(axis=1).tolist() == [1, 0, 3, 2]
    assert likeness[0, 1] > 0.5 > likeness[0, 2]


def test_rows_have_unit_length_and_a_title_that_shares_nothing_is_zero(titles: pa.Table) -> None:
    vectors = content_vectors(titles, 4, seed=1)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0, 0], atol=1e-6)


def test_columns_beyond_the_rank_are_zero(titles: pa.Table) -> None:
    vectors = content_vectors(titles, 64, seed=1)
    assert vectors.shape == (6, 64)
    assert vectors[:, :2].any(axis=0).all()
    assert not vectors[:, 2:].any()


def test_the_same_seed_gives_the_same_vectors_to_the_bit() -> None:
    rng = np.random.default_rng(5)
    n = 200
    people = [[f"n{i}" for i in rng.integers(0, 80, 6)] for _ in range(n)]
    many = table_of("titles", content_id=[str(i) for i in range(n)], cast=people)
    np.testing.assert_array_equal(content_vectors(many, 3, seed=7), content_vectors(many, 3, seed=7))


def test_genres_outweigh_a_shared_country() -> None:
    titles = table_of(
        "titles",
        content_id=["a", "b", "c", "d"],
        genres=[["Horror"], ["Horror"], ["Comedy"], ["Comedy"]],
        countries=[["US"], ["FR"], ["US"], ["FR"]],
    )
    likeness = content_vectors(titles, 8, seed=1) @ content_vectors(titles, 8, seed=1).T
    assert likeness[0, 1] > 2 * likeness[0, 2] > 0


words = st.none() | st.lists(st.text(max_size=3), max_size=3)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(words, words, st.none() | st.text(max_size=20)), max_size=6), st.integers(1, 5))
def test_any_table_gives_rows_of_length_one_or_zero(
    rows: list[tuple[list[str] | None, list[str] | None, str | None]], dim: int
) -> None:
    titles = table_of(
        "titles",
        content_id=[str(i) for i in range(len(rows))],
        genres=[row[0] or [] for row in rows],
        cast=[row[1] for row in rows],
        synopsis=[row[2] for row in rows],
    )
    vectors = content_vectors(titles, dim, seed=1)
    assert vectors.shape == (len(rows), dim)
    length = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(length - 1) < 1e-5) | (length == 0))

"""The text index: whole words, beginnings, misspellings, names in other orders and languages; nothing raises."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.catalog.text import THRESHOLD, TextIndex, words

from .conftest import table_of

NAMES = [
    "The Godfather",
    "Godfather: Part II, The (1974)",
    "Matrix, The (1999)",
    "The Matrix Reloaded",
    "Amélie",
    "Schindler's List",
    "Spider-Man",
    "Star Wars: Episode IV - A New Hope (1977)",
    "7 Days in Entebbe",
    "Grandfather's Clock",
    "The Matrix Reloaded",
    "千と千尋の神隠し",
]
(
    GODFATHER,
    GODFATHER_2,
    MATRIX,
    RELOADED,
    AMELIE,
    SCHINDLER,
    SPIDER_MAN,
    STAR_WARS,
    ENTEBBE,
    CLOCK,
    RELOADED_AGAIN,
    SPIRITED,
) = range(len(NAMES))


@pytest.fixture(scope="module")
def index() -> TextIndex:
    n = len(NAMES)
    cast: list[list[str] | None] = [None] * n
    cast[GODFATHER], cast[CLOCK] = ["Marlon Brando", "Al Pacino"], ["Amelie Noone"]
    localized: list[list[tuple[str, str]] | None] = [None] * n
    localized[AMELIE] = [("fr", "Le Fabuleux Destin d'Amélie Poulain"), ("de", "Die fabelhafte Welt der Amélie")]
    localized[SPIRITED] = [("en", "Spirited Away")]
    released: list[dt.date | None] = [None] * n
    released[GODFATHER] = dt.date(1972, 3, 24)
    return TextIndex.build(
        table_of(
            "titles",
            content_id=[f"t{i}" for i in range(n)],
            name=NAMES,
            genres=[["Science Fiction"] if i in {MATRIX, STAR_WARS} else ["Drama"] for i in range(n)],
            cast=cast,
            directors=[["Steven Spielberg"] if i == SCHINDLER else [] for i in range(n)],
            localized_names=localized,
            release_date=released,
        )
    )


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("the matrix", MATRIX),
        ("The Matrix", MATRIX),
        ("Matrix, The (1999)", MATRIX),
        ("matr", MATRIX),
        ("MATRIX RELOADED", RELOADED),
        ("matrix relo", RELOADED),
        ("godfathr", GODFATHER),
        ("the gdofather", GODFATHER),
        ("godfather part 2 1974", GODFATHER_2),
        ("god father", GODFATHER),
        ("amelie", AMELIE),
        ("AMÉLIE", AMELIE),
        ("fabelhafte welt", AMELIE),
        ("schindlers list", SCHINDLER),
        ("schindler’s", SCHINDLER),
        ("spiderman", SPIDER_MAN),
        ("spider man", SPIDER_MAN),
        ("starwars", STAR_WARS),
        ("star wasr", STAR_WARS),
        ("7", ENTEBBE),
        ("brando pacino", GODFATHER),
        ("spielburg", SCHINDLER),
        ("science fiction wars", STAR_WARS),
        ("千と千尋", SPIRITED),
        ("spirited", SPIRITED),
    ],
)
def test_a_query_finds_what_it_means(index: TextIndex, query: str, best: int) -> None:
    items, scores = index.search(query, 3)
    assert NAMES[items[0]] == NAMES[best]
    assert scores[0] >= THRESHOLD
    assert index.mask(query, len(NAMES))[best]


@pytest.mark.parametrize("query", ["", "   ", "$$$", "?!…—", "_", "🎬🍿", "\u0301", "zzyzx", "qqqq wwww eeee"])
def test_symbols_and_words_of_no_title_find_nothing(index: TextIndex, query: str) -> None:
    items, scores = index.search(query, 10)
    assert items.size == scores.size == 0
    assert not index.mask(query, len(NAMES)).any()


def test_words_lose_case_accents_and_apostrophes() -> None:
    assert words("AMÉLIE d’Ångström, Øst's ﬁn: 7½!") == ["amelie", "dangstrom", "osts", "fin", "71", "2"]


def test_a_name_counts_twice_what_a_name_in_the_cast_does(index: TextIndex) -> None:
    items, scores = index.search("amelie", 10)
    assert items.tolist() == [AMELIE, CLOCK]
    assert scores[1] < 0.6 * scores[0]


def test_words_written_apart_are_wholly_answered_by_the_word_they_make(index: TextIndex) -> None:
    assert index.search("god father", 1)[1][0] > 0.9
    assert index.search("spiderman", 1)[1][0] > 0.8


def test_the_title_that_is_asked_by_its_whole_name_comes_before_its_sequels() -> None:
    names = ["The Matrix Reloaded", "The Matrix", "The Matrix Revolutions"]
    index = TextIndex.build(table_of("titles", content_id=names, name=names))
    assert index.search("matrix", 3)[0].tolist() == [1, 0, 2]


def test_ties_go_to_the_lower_title_number(index: TextIndex) -> None:
    items, scores = index.search("reloaded", 5)
    assert items.tolist() == [RELOADED, RELOADED_AGAIN]
    assert scores[0] == scores[1]


def test_a_misspelling_counts_less_than_the_word_itself(index: TextIndex) -> None:
    assert index.search("godfathr", 1)[1][0] < index.search("godfather", 1)[1][0]


def test_a_common_word_does_not_make_a_match() -> None:
    names = ["The Godfather", *(f"The {word}" for word in ("Sting", "Birds", "Mummy", "Firm", "Rock", "Game", "Fan", "Net"))]
    index = TextIndex.build(table_of("titles", content_id=names, name=names))
    assert index.mask("the godfather", len(names)).nonzero()[0].tolist() == [0]
    assert index.mask("the", len(names)).all()


def test_a_mask_may_cover_fewer_or_more_titles_than_are_indexed(index: TextIndex) -> None:
    assert index.mask("matrix", 3).tolist() == [False, False, True]
    assert index.mask("matrix", 100).nonzero()[0].tolist() == [MATRIX, RELOADED, RELOADED_AGAIN]


def test_no_titles_are_found_in_an_empty_catalogue() -> None:
    empty = TextIndex.build(table_of("titles", content_id=[]))
    assert empty.search("matrix", 3)[0].size == 0
    assert empty.mask("matrix", 2).tolist() == [False, False]


def test_a_catalogue_of_symbols_can_be_indexed() -> None:
    symbols = TextIndex.build(table_of("titles", content_id=["a"], name=["$$$"]))
    assert symbols.search("matrix", 3)[0].size == 0


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters()) | st.text("matrix spoedn", max_size=300), st.integers(0, 20))
def test_any_query_is_answered_best_first_within_the_mask(index: TextIndex, query: str, k: int) -> None:
    items, scores = index.search(query, k)
    assert items.dtype == np.int32
    assert scores.dtype == np.float32
    assert len(items) == len(scores) == len(set(items.tolist()))
    assert np.all(np.diff(scores) <= 0)
    assert np.all((scores >= THRESHOLD) & (scores <= 1 + 1e-6))
    mask = index.mask(query, len(NAMES))
    assert len(items) == min(k, mask.sum())
    assert mask[items].all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=5))
def test_any_name_can_be_found_by_itself(names: list[str]) -> None:
    index = TextIndex.build(table_of("titles", content_id=[str(i) for i in range(len(names))], name=names))
    for number, name in enumerate(names):
        if words(name):
            assert index.mask(name, len(names))[number]

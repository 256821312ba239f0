"""Invents the synthetic world's catalogue: readable names, genres, people, dates, maturity, and the tastes behind them.

A title belongs to one taste (the cluster that viewers' tastes are made of) and perhaps to a franchise, whose parts are watched
in order. Both are the planted truth that a recommender should recover.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recray.schema import NO_ITEM, Floats, Ints, Kind, Longs, word

DAY_S: Final = 86_400


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


_ADJECTIVES: Final = _words(
    "Silent Crimson Hidden Last Broken Golden Midnight Distant Burning Frozen Velvet Paper Electric Hollow Restless",
    "Scarlet Quiet Wandering Forgotten Northern Southern Glass Iron Painted Lonely Borrowed Second Secret Sudden",
    "Endless Bitter Gentle Wild Amber Stolen Open Empty Rising Falling Blue",
)
_NOUNS: Final = _words(
    "Harbour River Garden Letter Winter Kingdom Orchard Station Mirror Promise Shadow Island Summer Lantern Witness",
    "Bridge Desert Engine Horizon Inheritance Kitchen Library Mountain Neighbour Ocean Portrait Quarry Season Tower",
    "Valley Voyage Weather Window Carnival Detective Empire Forest Guest Hotel Jury Lighthouse Machine Night Opera",
    "Planet Question Railway Storm Theatre Verdict",
)
_PATTERNS: Final = ("The {a} {n}", "{a} {n}", "The {n} of {m}", "My {a} {n}", "{n} and {m}", "Beyond the {a} {n}", "{n} in {m}")
_FIRST: Final = _words(
    "Ana Ben Carla David Elif Femi Grace Hugo Ines Jonas Kenji Lucia Mara Noah Olga Pavel Quinn Rosa Samir Tara",
    "Umut Vera Wei Ximena Yara Zane Amara Bruno Chloe Dario",
)
_LAST: Final = _words(
    "Abara Bellini Castillo Duarte Eriksen Fontaine Garcia Haddad Ivanova Jensen Kimura Lindgren Moreau Novak",
    "Okafor Petrov Quiroga Rossi Schneider Tanaka Ueda Vasquez Weber Xu Yilmaz Zimmer Almeida Brandt Costa Dubois",
)
_TASTES: Final[tuple[tuple[str, str, str], ...]] = (
    ("Crime", "Thriller", "Drama"),
    ("Romance", "Comedy", "Drama"),
    ("Sci-Fi", "Action", "Adventure"),
    ("Animation", "Children", "Comedy"),
    ("Documentary", "War", "Drama"),
    ("Horror", "Mystery", "Thriller"),
    ("Fantasy", "Adventure", "Children"),
    ("Musical", "Romance", "Drama"),
    ("Action", "Crime", "Western"),
    ("Comedy", "Fantasy", "Romance"),
    ("Drama", "Mystery", "Film-Noir"),
    ("Documentary", "Adventure", "Musical"),
)
"""Genres of each taste, the typical one first."""
N_TASTES: Final = len(_TASTES)
CHILDREN_TASTES: Final = (3, 6)
_PLOTS: Final = (
    "In this {genre} story, {who} finds {what} and must decide what to keep and what to give away.",
    "When {what} returns to town, {who} learns what {genre} means at close range.",
    "{who} has one week to save {what}. Pure {genre}, with trust, luck and bad weather.",
    "Years after losing {what}, {who} sets out again: {genre} told from both ends.",
)
_FRANCHISE_SHARE: Final = 0.3
_MAX_PARTS: Final = 4
_DIM: Final = 16
_BETWEEN_PARTS_DAYS: Final = 30


@dataclass(slots=True, frozen=True)
class Catalogue:
    """Titles and the truth behind them; every array has one entry per row of `frame`.

    `taste` is the cluster [n] int32, `successor` the next part of the franchise or NO_ITEM, `vector` [n, 16] float32 unit rows,
    `appeal` float32 (log scale, what makes a title popular with everybody), `added_at_s` int64.
    """

    frame: pl.DataFrame
    taste: Ints
    successor: Ints
    vector: Floats
    appeal: Floats
    added_at_s: Longs
    maturity: Ints
    duration_min: Floats
    taste_vector: Floats


def invent(n_titles: int, window_s: tuple[int, int], generator: np.random.Generator, prefix: str = "t") -> Catalogue:
    """A catalogue of `n_titles`; two thirds were added before the window [start, end) of seconds since 1970, the rest in it.

    Ids are `prefix` and a number; names are unique. A franchise's parts share taste and name and are added in order.
    """
    franchise, part = _franchises(n_titles, generator)
    n_works = int(franchise[-1]) + 1
    taste = generator.integers(0, N_TASTES, n_works).astype(np.int32)
    kind, maturity, genres = _kinds(taste, generator), _maturity(taste, generator), _genres(taste, generator)
    taste_vector = _unit(generator.normal(size=(N_TASTES, _DIM)))
    work_vector = taste_vector[taste] + 0.15 * generator.normal(size=(n_works, _DIM))
    vector = _unit(work_vector[franchise] + 0.05 * generator.normal(size=(n_titles, _DIM)))
    appeal = generator.gumbel(0, 1.0, n_works)[franchise] + generator.normal(0, 0.3, n_titles)
    added_s, released_s = _history(franchise, part, window_s, generator)
    typical = np.where(kind == word(Kind.SERIES), 45, 104)[franchise]
    duration_min = np.round(np.maximum(generator.normal(typical, 0.15 * typical), 15)).astype(np.float32)
    people = [f"{first} {last}" for first in _FIRST for last in _LAST]
    frame = pl.DataFrame(
        {
            "content_id": [f"{prefix}{number:07d}" for number in range(n_titles)],
            "name": _names(franchise, part, generator),
            "kind": kind[franchise],
            "genres": [genres[work] for work in franchise.tolist()],
            "release_date": released_s.astype("datetime64[s]").astype("datetime64[D]"),
            "synopsis": _synopses([genres[work][0] for work in franchise.tolist()], people, generator),
            "cast": _people(taste[franchise], people, 3, generator),
            "directors": _people(taste[franchise], people, 1, generator),
            "original_language": generator.choice(["en", "fr", "ja", "de", "pt"], n_titles, p=[0.6, 0.12, 0.1, 0.1, 0.08]),
            "maturity": maturity[franchise],
            "duration_min": duration_min,
            "added_at": pl.Series(added_s * 1000).cast(pl.Datetime("ms", "UTC")),
        }
    )
    return Catalogue(
        frame=frame,
        taste=taste[franchise],
        successor=_successors(franchise, part),
        vector=vector.astype(np.float32),
        appeal=appeal.astype(np.float32),
        added_at_s=added_s,
        maturity=maturity[franchise].astype(np.int32),
        duration_min=duration_min,
        taste_vector=taste_vector.astype(np.float32),
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _franchises(n_titles: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Franchise and part (from 0) of each title; most works stand alone."""
    parts = np.where(generator.random(n_titles) < _FRANCHISE_SHARE / 2, generator.integers(2, _MAX_PARTS + 1, n_titles), 1)
    franchise = np.repeat(np.arange(n_titles), parts)[:n_titles]
    starts = np.concatenate([[0], np.cumsum(parts)])[franchise]
    return franchise, np.arange(n_titles) - starts


def _history(
    franchise: NDArray[np.int64], part: NDArray[np.int64], window_s: tuple[int, int], generator: np.random.Generator
) -> tuple[Longs, Longs]:
    """When each title was added and, before that, released [n] int64 seconds; both in order of a franchise's parts."""
    start_s, end_s = window_s
    n_works = int(franchise[-1]) + 1
    before = generator.random(n_works) < 2 / 3
    past_s = start_s - 1 - (generator.exponential(500, n_works) * DAY_S).astype(np.int64)
    first_s = np.where(before, past_s, generator.integers(start_s, end_s, n_works))
    added_s = np.minimum(first_s[franchise] + part * _BETWEEN_PARTS_DAYS * DAY_S, end_s - 1)
    age_days = np.where(before, generator.exponential(2_500, n_works), generator.exponential(60, n_works))
    age_days = np.minimum(age_days, 30 * 365) + np.bincount(franchise) * _BETWEEN_PARTS_DAYS
    released_s = first_s - (age_days * DAY_S).astype(np.int64)
    return added_s, released_s[franchise] + part * _BETWEEN_PARTS_DAYS * DAY_S


def _successors(franchise: NDArray[np.int64], part: NDArray[np.int64]) -> Ints:
    following = np.append(franchise[1:] == franchise[:-1], [False])
    return np.where(following, np.arange(len(part)) + 1, NO_ITEM).astype(np.int32)


def _names(franchise: NDArray[np.int64], part: NDArray[np.int64], generator: np.random.Generator) -> list[str]:
    """A work's name, once repeated told apart by a place; the parts after the first are numbered."""
    n_works = int(franchise[-1]) + 1
    picks = generator.integers(0, (len(_PATTERNS), len(_ADJECTIVES), len(_NOUNS), len(_NOUNS)), (n_works, 4))
    taken: dict[str, int] = {}
    works = []
    for pattern, adjective, noun, other in picks.tolist():
        beside = _NOUNS[(other + (other == noun)) % len(_NOUNS)]
        name = _PATTERNS[pattern].format(a=_ADJECTIVES[adjective], n=_NOUNS[noun], m=beside)
        taken[name] = times = taken.get(name, 0) + 1
        works.append(name if times == 1 else f"{name}: {_LAST[(times - 2) % len(_LAST)]} {_numeral(times - 2)}".rstrip())
    return [
        works[work] if number == 0 else f"{works[work]} {number + 1}"
        for work, number in zip(franchise.tolist(), part.tolist(), strict=True)
    ]


def _numeral(times: int) -> str:
    rounds = times // len(_LAST)
    return f"Vol. {rounds + 1}" if rounds else ""


def _genres(taste: Ints, generator: np.random.Generator) -> list[list[str]]:
    kept = generator.random((len(taste), 3)) < (0.95, 0.6, 0.35)
    kept[~kept.any(axis=1), 0] = True
    return [
        [genre for genre, keep in zip(_TASTES[one], row, strict=True) if keep] for one, row in zip(taste, kept, strict=True)
    ]


def _kinds(taste: Ints, generator: np.random.Generator) -> NDArray[np.str_]:
    documentary = np.array([genres[0] == "Documentary" for genres in _TASTES])[taste]
    kind = generator.choice([word(Kind.MOVIE), word(Kind.SERIES), word(Kind.SPECIAL)], len(taste), p=[0.62, 0.34, 0.04])
    return np.where(documentary, word(Kind.DOCUMENTARY), kind)


def _maturity(taste: Ints, generator: np.random.Generator) -> NDArray[np.int16]:
    grown = generator.choice([7, 13, 16, 18], len(taste), p=[0.15, 0.4, 0.3, 0.15])
    young = generator.choice([0, 7], len(taste))
    return np.where(np.isin(taste, CHILDREN_TASTES), young, grown).astype(np.int16)


def _synopses(genres: list[str], people: list[str], generator: np.random.Generator) -> list[str]:
    picks = generator.integers(0, (len(_PLOTS), len(people), len(_ADJECTIVES), len(_NOUNS)), (len(genres), 4)).tolist()
    return [
        _PLOTS[plot].format(genre=genre.lower(), who=people[who], what=f"the {_ADJECTIVES[a].lower()} {_NOUNS[n].lower()}")
        for genre, (plot, who, a, n) in zip(genres, picks, strict=True)
    ]


def _people(taste: Ints, people: list[str], n: int, generator: np.random.Generator) -> list[list[str]]:
    """Names of each title; a taste has its own quarter of the people, so that a name says something about a title."""
    reach = len(people) // 4
    picks = (taste[:, None] * (len(people) // N_TASTES) + generator.integers(0, reach, (len(taste), n))) % len(people)
    return [list(dict.fromkeys(people[pick] for pick in row)) for row in picks.tolist()]

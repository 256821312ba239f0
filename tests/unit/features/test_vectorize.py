"""The matrix: a batch is its requests one by one, nothing is NaN, and the future does not show."""

from typing import Any

import numpy as np
import pytest

from recray.features import fold, vectorize, views
from recray.features.fold import ProfileState
from recray.features.profiles import Profiles, columns
from recray.schema import AGE_GROUPS, NO_ITEM, Action, Candidates, ProfileSettings, Requests

SETTINGS = [
    ProfileSettings(),
    ProfileSettings(country="US", language="en", age_group="25-34"),
    ProfileSettings(country="FR", language="fr", age_group="no such group", maturity_limit=12),
    ProfileSettings(language="xx", age_group=AGE_GROUPS[-1], genres=("Comedy", "drama")),
]


def candidates(draw: np.random.Generator, n: int, width: int, n_titles: int) -> Candidates:
    n_sources = len(views.SOURCES)
    ranks = draw.integers(0, 30, (n, width, n_sources)).astype(np.int32)
    scores = np.where(ranks > 0, draw.normal(size=ranks.shape) * 10.0 ** draw.integers(-3, 4, n_sources), np.nan).astype(
        np.float32
    )
    items = draw.integers(0, n_titles, (n, width)).astype(np.int32)
    for row in range(n):
        items[row, draw.integers(0, width + 1) :] = NO_ITEM
    absent = items == NO_ITEM
    scores[absent], ranks[absent] = np.nan, 0
    return Candidates(items, scores, ranks, np.full(items.shape, NO_ITEM, np.int32), views.SOURCES)


def one(got: Candidates, row: int) -> Candidates:
    """A request's candidates as its own batch: only as wide as it needs."""
    n = int((got.items[row] != NO_ITEM).sum())
    at = (slice(row, row + 1), slice(0, n))
    return Candidates(got.items[at], got.scores[at], got.ranks[at], got.seeds[at], got.sources)


def drawn_profiles(world: Any, draw: np.random.Generator, n: int, n_titles: int) -> Profiles:
    def history() -> fold.Words:
        size = int(draw.choice([0, 1, 7, 199, 200, 260]))
        at = world.now - 1 - np.cumsum(draw.integers(0, 40_000, size))
        return fold.pack(
            at,
            draw.integers(0, n_titles, size),
            draw.integers(0, 12, size),
            draw.integers(0, 4, size),
            draw.integers(0, 64, size),
        )

    return columns([fold.fold(ProfileState(), history()) for _ in range(n)], [SETTINGS[i % len(SETTINGS)] for i in range(n)])


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_gives_what_its_requests_give_one_by_one(world: Any, seed: int) -> None:
    draw = np.random.default_rng(seed)
    items, n = world.catalogue(40), 13
    items.content = draw.normal(size=(items.n, 64)).astype(np.float32)
    profiles, requests = drawn_profiles(world, draw, n, items.n), world.requests(n)
    proposed = candidates(draw, n, 9, items.n)
    user, match = vectorize.user_matrix(requests, profiles, items), vectorize.match_matrix(requests, profiles, items, proposed)
    for row in range(n):
        own = np.array([row])
        alone: tuple[Requests, Profiles] = requests.take(own), profiles.take(own)
        assert vectorize.user_matrix(*alone, items)[0].tobytes() == user[row].tobytes()
        single = vectorize.match_matrix(*alone, items, one(proposed, row))
        assert single[0].tobytes() == match[row, : single.shape[1]].tobytes()
        assert not match[row, single.shape[1] :].any()


def test_shapes_and_types_are_the_declared_ones(world: Any) -> None:
    items, draw = world.catalogue(), np.random.default_rng(0)
    got = vectorize.ranker_input(
        world.requests(3), drawn_profiles(world, draw, 3, items.n), items, candidates(draw, 3, 5, items.n), 50
    )
    assert (got.user.shape, got.user.dtype) == ((3, 60), np.float32)
    assert (got.match.shape, got.match.dtype) == ((3, 5, views.width("match")), np.float32)
    assert (got.history.shape, got.history.dtype) == ((3, 50), np.int32)
    table = vectorize.item_matrix(items)
    assert (table.shape, table.dtype) == ((items.n, 30), np.float32)


@pytest.mark.parametrize("n_titles", [1, 2, 6])
@pytest.mark.parametrize("newer", [0, 5])
def test_nothing_is_nan_or_infinite(world: Any, n_titles: int, newer: int) -> None:
    """Empty profiles, unknown settings, one title, and events on titles that are newer than the bundle's table."""
    items, draw = world.catalogue(n_titles), np.random.default_rng(1)
    profiles, requests = drawn_profiles(world, draw, 12, n_titles + newer), world.requests(12)
    proposed = candidates(draw, 12, 4, n_titles)
    for matrix in (
        vectorize.user_matrix(requests, profiles, items),
        vectorize.match_matrix(requests, profiles, items, proposed),
        vectorize.item_matrix(items),
    ):
        assert np.isfinite(matrix).all()


def test_empty_batch_and_no_candidates_have_empty_matrices(world: Any) -> None:
    items, draw = world.catalogue(), np.random.default_rng(0)
    nobody = world.profiles()
    assert vectorize.user_matrix(world.requests(0), nobody, items).shape == (0, 60)
    profiles = drawn_profiles(world, draw, 2, items.n)
    assert vectorize.match_matrix(world.requests(2), profiles, items, _none(2)).shape == (2, 0, views.width("match"))


def _none(n: int) -> Candidates:
    empty = np.empty((n, 0), np.int32)
    by_source = np.empty((n, 0, len(views.SOURCES)))
    return Candidates(empty, by_source.astype(np.float32), by_source.astype(np.int32), empty, views.SOURCES)


def column(entity: Any, name: str) -> slice:
    names = views.column_names(entity)
    matching = [i for i, full in enumerate(names) if full == name or full.rsplit("_", 1)[0] == name]
    return slice(matching[0], matching[-1] + 1)


def user_values(world: Any, events: Any, name: str) -> list[float]:
    matrix = vectorize.user_matrix(world.requests(1), world.profiles(events), world.catalogue())
    return matrix[0, column("user", name)].tolist()


def test_titles_newer_than_the_table_count_for_nothing_but_activity(world: Any) -> None:
    known = world.words((900, 1, Action.COMPLETE, None))
    newer = world.words((900, 1, Action.COMPLETE, None), (800, 99, Action.COMPLETE, None))
    assert user_values(world, known, "genre_preference")[1] == 1.0
    assert user_values(world, newer, "genre_preference")[1] == pytest.approx(0.5, abs=1e-3)
    assert user_values(world, newer, "last_watched_genre") == [0.0] * 12
    proposed = _none(1)
    proposed.items = np.array([[1]], np.int32)
    proposed.scores, proposed.ranks = (np.zeros((1, 1, len(views.SOURCES)), kind) for kind in (np.float32, np.int32))
    kind_share = views.width("match") - 6 + 3
    for events in (known, newer):
        matrix = vectorize.match_matrix(world.requests(1), world.profiles(events), world.catalogue(5), proposed)
        assert matrix[0, 0, kind_share] == 1.0  # the one start whose kind is known was a series; the last title is a film


def test_values_are_what_they_say(world: Any) -> None:
    day = world.day
    events = world.words(
        (2 * day, 0, Action.COMPLETE, None), (2 * day - 600, 3, Action.PROGRESS, 0.5), (day, 4, Action.DISLIKE, None)
    )
    assert user_values(world, events, "completion_rate") == pytest.approx([2 / 4])
    assert user_values(world, events, "binge_tendency") == [1.0]
    assert user_values(world, events, "days_since_last_watch") == pytest.approx([np.log1p((2 * day - 600) / day)])
    assert user_values(world, events, "last_watched_genre")[:3] == [1.0, 0.0, 0.0]
    assert user_values(world, events, "last_session") == pytest.approx([np.log1p(24), np.log1p(1)])
    assert user_values(world, events, "activity") == pytest.approx([np.log1p(3), 1 / 3])
    action, comedy, _ = user_values(world, events, "genre_preference")[:3]
    assert action > 0 > comedy
    assert user_values(world, events, "device_preference") == [0.0, 1.0, 0.0, 0.0]


def test_a_like_counts_as_a_watch_for_genres_and_for_nothing_that_was_watched(world: Any) -> None:
    liked = world.words((900, 1, Action.LIKE, None))
    assert user_values(world, liked, "genre_preference")[:3] == [0.0, 1.0, 0.0]
    assert user_values(world, liked, "last_watched_genre") == [0.0] * 12
    assert user_values(world, liked, "completion_rate") == [0.5]
    taken_back = world.words((900, 1, Action.LIKE, None), (800, 1, Action.HIDE, None))
    assert user_values(world, taken_back, "genre_preference")[1] < 0


def test_picked_genres_are_a_preference_that_fades_as_a_history_grows(world: Any) -> None:
    picked = [ProfileSettings(genres=("comedy", "Drama", "Unheard of"))]
    events = [(900 - n, 3 * (n % 2), Action.COMPLETE, None) for n in range(4)]
    for n, expected in ((0, [0, 0.5, 0.5]), (1, [0.5, 0.25, 0.25]), (4, [0.8, 0.1, 0.1])):
        profiles = world.profiles(world.words(*events[:n]), settings=picked)
        matrix = vectorize.user_matrix(world.requests(1), profiles, world.catalogue())
        assert matrix[0, column("user", "genre_preference")][:3] == pytest.approx(expected, abs=1e-3)


def test_long_absence_does_not_erase_taste(world: Any) -> None:
    old = world.words((3_000 * world.day, 0, Action.COMPLETE, None))
    assert user_values(world, old, "genre_preference")[0] == 1.0
    assert user_values(world, old, "days_since_last_watch") == pytest.approx([np.log1p(30)])


def test_view_of_another_width_than_declared_cannot_pass(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = views.View("age_group", "user", 3, views.VIEWS[0].compute, "profile settings")
    monkeypatch.setattr(views, "VIEWS", (wrong, *views.VIEWS[1:]))
    with pytest.raises(AssertionError, match="view age_group gave 2 columns; declared 3"):
        vectorize.user_matrix(world.requests(1), world.profiles(world.words()), world.catalogue())

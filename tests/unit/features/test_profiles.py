"""What a decoded profile says: history, what was begun, what was refused, inside the recent window and beyond it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.features import fold
from recray.features.fold import N_RECENT, ProfileState
from recray.features.profiles import columns
from recray.schema import NO_ITEM, WATCHING, Action, ProfileSettings


def titles(row: Any) -> list[int]:
    """A padded row without its padding, which must all be at the end."""
    known = row[row != NO_ITEM]
    assert np.array_equal(row[: known.size], known)
    return known.tolist()


def test_history_is_distinct_newest_first(world: Any) -> None:
    got = world.profiles(
        world.words(
            (900, 1, Action.PLAY, None),
            (800, 2, Action.COMPLETE, None),
            (700, 1, Action.PROGRESS, 0.4),
            (600, 3, Action.ADD, None),
        )
    )
    assert titles(got.history[0]) == [1, 2]
    assert got.history_at_s[0, :3].tolist() == [1_700_000_000 - 700, 1_700_000_000 - 800, 0]
    assert got.history.shape == (1, N_RECENT)
    assert got.history.dtype == np.int32


def test_a_liked_title_is_evidence_but_not_watched(world: Any) -> None:
    got = world.profiles(
        world.words(
            (900, 1, Action.PLAY, None), (800, 2, Action.LIKE, None), (700, 2, Action.LIKE, None), (650, 1, Action.LIKE, None)
        )
    )
    assert titles(got.history[0]) == titles(got.favourites[0]) == [1, 2]
    assert got.history_at_s[0, :3].tolist() == [1_700_000_000 - 650, 1_700_000_000 - 700, 0]
    assert titles(got.unfinished[0]) == [1], "a like neither begins a title nor ends one"
    assert got.watched(0).tolist() == [1]
    assert got.only_liked(0) == {2}


@pytest.mark.parametrize("refusal", [(500, 2, Action.HIDE, None), (500, 2, Action.DISLIKE, None)])
def test_a_like_holds_until_the_title_is_rejected(world: Any, refusal: tuple[Any, ...]) -> None:
    liked = (900, 1, Action.PLAY, None), (600, 2, Action.LIKE, None)
    got = world.profiles(world.words(*liked, refusal), world.words((700, 2, Action.DISLIKE, None), *liked))
    assert [titles(row) for row in got.history] == [[1], [2, 1]]
    assert [titles(row) for row in got.favourites] == [[1], [2, 1]]
    assert got.only_liked(0) == set()


def test_profiles_of_a_batch_do_not_mix(world: Any) -> None:
    got = world.profiles(
        world.words((900, 1, Action.PLAY, None)),
        world.words(),
        world.words((800, 1, Action.PLAY, None), (700, 2, Action.PLAY, None)),
    )
    assert [titles(row) for row in got.history] == [[1], [], [2, 1]]


def test_unfinished_follows_the_newest_watching_event(world: Any) -> None:
    got = world.profiles(
        world.words(
            (900, 1, Action.PROGRESS, 0.5),
            (890, 2, Action.PROGRESS, 0.5),
            (880, 2, Action.COMPLETE, None),  # finished
            (870, 3, Action.COMPLETE, None),
            (860, 3, Action.PLAY, None),  # begun anew
            (850, 4, Action.RATE, 4.0),  # a rating without progress was watched to the end
        )
    )
    assert titles(got.unfinished[0]) == [3, 1]


@pytest.mark.parametrize("refusal", [(500, 1, Action.HIDE, None), (500, 1, Action.DISLIKE, None), (500, 1, Action.RATE, 2.0)])
def test_what_was_rejected_since_is_neither_resumed_nor_a_seed(world: Any, refusal: tuple[Any, ...]) -> None:
    begun = (900, 1, Action.PROGRESS, 0.5), (800, 2, Action.PROGRESS, 0.5)
    got = world.profiles(world.words(*begun, refusal))
    assert titles(got.unfinished[0]) == [2]
    assert titles(got.favourites[0]) == [2]
    assert 1 in titles(got.history[0])


def test_what_was_watched_again_after_a_rejection_counts_again(world: Any) -> None:
    got = world.profiles(world.words((900, 1, Action.RATE, 1.0), (800, 1, Action.PROGRESS, 0.5)))
    assert titles(got.unfinished[0]) == [1]
    assert titles(got.favourites[0]) == [1]


def test_rating_without_stars_rejects_nothing(world: Any) -> None:
    got = world.profiles(world.words((900, 1, Action.RATE, None), (800, 2, Action.RATE, 2.0), (700, 3, Action.RATE, 2.5)))
    assert titles(got.favourites[0]) == [3, 1]


def test_an_empty_profile_has_nothing(world: Any) -> None:
    got = world.profiles(world.words())
    for name in ("history", "favourites", "unfinished"):
        assert titles(getattr(got, name)[0]) == [], name
    assert not got.present.any()
    assert got.watched(0).size == got.hidden(0).size == 0


@given(st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_watched_and_hidden_reach_beyond_the_window(seed: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    events = fold.pack(
        1_600_000_000 + draw.integers(0, 10**8, n),
        draw.integers(0, 400, n),
        draw.integers(0, 12, n),
        draw.integers(0, 4, n),
        np.zeros(n),
    )
    got = columns([fold.fold(ProfileState(), events)], [ProfileSettings()])
    item, action = fold.items(events), fold.actions(events)
    assert set(got.watched(0).tolist()) == set(item[np.isin(action, WATCHING)].tolist())
    assert set(got.hidden(0).tolist()) == set(item[np.isin(action, (Action.HIDE, Action.DISLIKE))].tolist())


def test_taking_profiles_takes_every_column(world: Any) -> None:
    histories = [world.words((900 - i, i, Action.PLAY, None)) for i in range(4)]
    whole = world.profiles(*histories, settings=[ProfileSettings(country=f"C{i}") for i in range(4)])
    part = whole.take(np.array([2, 0]))
    assert [titles(row) for row in part.history] == [[2], [0]]
    assert [s.country for s in part.settings] == ["C2", "C0"]
    assert part.n == 2


def test_versions_stay_with_their_profiles() -> None:
    got = columns([ProfileState(), ProfileState()], [ProfileSettings()] * 2, [7, 9])
    assert got.take(np.array([1])).version == [9]

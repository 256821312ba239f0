import re
from collections.abc import Sequence

import numpy as np
import pytest

from recray.errors import ConfigError, DataError
from recray.evaluation import tracks
from recray.features.interactions import Interactions

Row = tuple[int, int, int]


def plays_of(rows: Sequence[Row], n_items: int) -> Interactions:
    """Rows of (profile, title, time), sorted by profile; all rated two stars, which weighs less."""
    profile, item, at_s = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    n = len(rows)
    return Interactions(
        profile=profile.astype(np.int32),
        item=item.astype(np.int32),
        at_s=at_s,
        weight=np.full(n, 0.2, np.float32),
        rating=np.full(n, 2, np.float32),
        progress=np.full(n, np.nan, np.float32),
        region=np.full(n, -1, np.int32),
        n_profiles=int(profile.max()) + 1,
        n_items=n_items,
    )


def test_leave_one_out_learns_from_all_but_the_last_two_of_each_profile() -> None:
    track = tracks.make("B", plays_of([(0, 4, 1), (0, 2, 2), (0, 0, 3), (0, 1, 3), (1, 2, 1), (1, 0, 2), (1, 3, 9)], 6))
    assert track.targets.item.tolist() == [1, 3]
    assert track.plays.item[track.validation].tolist() == [0, 0]
    assert track.plays.item[track.learnt].tolist() == [4, 2, 2]
    assert track.catalogue.tolist() == [True, True, True, True, True, False]


def test_a_track_knows_no_ratings() -> None:
    plays = tracks.make("B", plays_of([(0, 0, 1), (0, 1, 2), (0, 2, 3)], 3)).plays
    assert np.isnan(plays.rating).all()
    assert plays.weight.tolist() == [1, 1, 1]


def test_a_title_met_again_counts_once_where_one_is_left_out() -> None:
    track = tracks.make("B", plays_of([(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 0, 4)], 3))
    assert track.targets.item.tolist() == [2]


def test_track_a_removes_rare_titles_and_no_profile() -> None:
    # Title 0 has five profiles, title 1 six, the others fewer.
    rows = [(p, title, title) for p in range(6) for title in (0, 1) if title or p < 5] + [(5, 2, 7)]
    track = tracks.make("A", plays_of(rows, 3))
    assert np.flatnonzero(track.catalogue).tolist() == [0, 1]
    assert len(track.plays) == 11
    assert track.targets.profile.tolist() == [0, 1, 2, 3, 4]  # the sixth has a single title left


def test_a_core_is_taken_until_nothing_changes() -> None:
    # Removing title 2 leaves profile 2 with one row, and then title 1 with one.
    plays = plays_of([(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 3, 2), (1, 4, 2), (2, 1, 1), (2, 2, 2), (3, 0, 1), (3, 5, 1)], 6)
    assert len(tracks.core(plays, 2, 1)) == 5
    assert len(tracks.core(plays, 2, 2)) == 0
    assert tracks.core(plays, 1, 1) is plays


def _over_time(n_early: int = 5) -> Interactions:
    """Profiles that all see titles 0 to 5 in turn; profile p begins at 10 p, but the last, which begins late."""
    begins = [*range(0, 10 * n_early, 10), 1_000]
    return plays_of([(p, title, begin + title) for p, begin in enumerate(begins) for title in range(6)], 6)


def test_the_time_split_asks_for_everything_after_the_quantile_that_has_a_history() -> None:
    track = tracks.make("D", _over_time())
    # 36 times; their 0.9 quantile is at place 31.5: halfway between 1,001 and 1,002.
    assert track.targets.profile.tolist() == [5, 5, 5, 5]
    assert track.targets.item.tolist() == [2, 3, 4, 5]
    # Before it lie 32 rows; the 0.9 quantile of their times is at place 27.9, between 43 and 44.
    assert track.plays.at_s[track.learnt].max() == 43
    assert track.plays.at_s[track.validation].tolist() == [44, 45, 1_000, 1_001]
    assert not (track.learnt & track.validation).any()


def test_the_time_split_learns_nothing_from_a_profile_that_has_begun_with_one_title() -> None:
    plays = _over_time(9)
    plays.at_s[plays.profile == 9] = [5, 1_001, 1_002, 1_003, 1_004, 1_005]
    track = tracks.make("D", plays)
    assert track.targets.item[track.targets.profile == 9].tolist() == [1, 2, 3, 4, 5]
    assert 9 not in track.plays.profile[track.learnt | track.validation]


def test_the_time_split_drops_repeats_that_follow_at_once() -> None:
    plays = _over_time()
    doubled = np.sort(np.append(np.arange(36), [0, 0, 7]))
    again = plays_of(list(zip(plays.profile[doubled], plays.item[doubled], plays.at_s[doubled], strict=True)), 6)
    track = tracks.make("D", again)
    assert len(track.plays) == 36


@pytest.mark.parametrize("name", ["A", "B", "D"])
def test_no_target_is_learnt_or_chosen_on(name: str) -> None:
    rng = np.random.default_rng(3)
    at_s = np.sort(rng.integers(0, 99, (30, 9)), axis=1)
    rows = [(p, int(title), int(at_s[p, place])) for p in range(30) for place, title in enumerate(rng.permutation(12)[:9])]
    track = tracks.make(name, plays_of(rows, 12))
    assert not (track.learnt | track.validation)[track.targets.row].any()
    first = track.plays.bounds()[track.targets.profile]
    assert (track.targets.row > first).all()


def test_shuffled_ties_change_nothing_but_the_order_of_equal_times() -> None:
    plays = plays_of([(0, title, title // 4) for title in range(40)] + [(1, 0, 5), (1, 1, 6)], 40)
    other = tracks.shuffled_ties(plays, np.random.default_rng(1))
    assert other.at_s.tolist() == plays.at_s.tolist()
    assert other.profile.tolist() == plays.profile.tolist()
    assert other.item.tolist() != plays.item.tolist()
    assert (other.item[:40].reshape(10, 4).min(axis=1) == np.arange(0, 40, 4)).all()


def test_an_unknown_track_is_named() -> None:
    with pytest.raises(ConfigError, match=re.escape("track is 'Z'; expected one of A, B, C, D to rank titles")):
        tracks.make("Z", plays_of([(0, 0, 1)], 1))


@pytest.mark.parametrize("name", ["A", "B", "D"])
def test_a_track_that_leaves_nothing_says_so(name: str) -> None:
    with pytest.raises(DataError, match=f"track {name} leaves [01] interactions to learn from and 0 requests of"):
        tracks.make(name, plays_of([(0, 0, 1)], 1))

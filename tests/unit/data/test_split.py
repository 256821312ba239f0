import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recray.data.split import Boundaries, global_time, leave_one_out, time_split
from recray.errors import ConfigError, DataError
from recray.features.interactions import Interactions
from recray.settings import SplitSettings

TIMES = st.lists(st.integers(0, 200), min_size=10, max_size=80)


def interactions(profile: list[int], at_s: list[int]) -> Interactions:
    order = np.lexsort((at_s, profile))
    n = len(order)
    zeros = np.zeros(n, np.float32)
    return Interactions(
        profile=np.array(profile, np.int32)[order],
        item=np.arange(n, dtype=np.int32),
        at_s=np.array(at_s, np.int64)[order],
        weight=zeros,
        rating=zeros,
        progress=zeros,
        region=np.zeros(n, np.int32),
        n_profiles=max(profile, default=-1) + 1,
        n_items=n,
    )


@st.composite
def histories(draw: st.DrawFn) -> Interactions:
    at_s = draw(st.lists(st.integers(0, 50), min_size=4, max_size=60))
    return interactions([draw(st.integers(0, 5)) for _ in at_s], at_s)


@settings(max_examples=40)
@given(TIMES, st.integers(0, 20))
def test_every_event_is_in_one_part_or_a_gap_and_parts_follow_each_other(times: list[int], gap_s: int) -> None:
    at_s = np.array(times, np.int64)
    try:
        boundaries = time_split(at_s, SplitSettings(sources=0.5, rankers=0.2, validation=0.1, gap_s=gap_s))
    except DataError:
        assume(False)
    part = boundaries.part(at_s)
    for earlier, later in ((0, 1), (1, 2), (2, 3)):
        assert at_s[part == later].min() - at_s[part == earlier].max() > gap_s
    if gap_s == 0:
        assert (part >= 0).all()
    assert all(len(set(part[at_s == moment])) == 1 for moment in at_s)


def test_shares_are_met_when_moments_are_distinct() -> None:
    part = time_split(np.arange(1000)[::-1], SplitSettings()).part(np.arange(1000))
    assert np.bincount(part).tolist() == [700, 100, 100, 100]


def test_a_gap_belongs_to_no_part() -> None:
    boundaries = time_split(np.arange(100), SplitSettings(gap_s=3.5))
    assert boundaries == Boundaries(70, 80, 90, 100, gap_s=4)
    assert boundaries.part(np.array([69, 70, 73, 74, 79, 80, 99, 100])).tolist() == [0, -1, -1, 1, 1, -1, 3, -1]


def test_a_part_may_be_left_out_on_purpose() -> None:
    part = time_split(np.arange(10), SplitSettings(sources=0.8, rankers=0.0, validation=0.0)).part(np.arange(10))
    assert np.bincount(part, minlength=4).tolist() == [8, 0, 0, 2]


@pytest.mark.parametrize(
    ("at_s", "message"),
    [
        ([], "there are no events to split"),
        ([7] * 50, "50 events at 1 distinct moments leave no event for: sources, rankers, validation"),
    ],
)
def test_what_cannot_be_split_says_why(at_s: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        time_split(np.array(at_s, np.int64), SplitSettings())


def test_shares_must_leave_a_test_part() -> None:
    with pytest.raises(ConfigError, match=r"sum to 1.00; expected less than 1"):
        time_split(np.arange(10), SplitSettings(sources=0.8, rankers=0.1, validation=0.1))


@settings(max_examples=50)
@given(histories(), st.integers(1, 3))
def test_leave_one_out_loses_nothing_and_holds_out_the_latest(history: Interactions, n_last: int) -> None:
    train, held = leave_one_out(history, n_last)
    assert sorted([*train.item, *history.item[held]]) == history.item.tolist()
    for profile in range(history.n_profiles):
        mine = held[history.profile[held] == profile]
        kept = train.at_s[train.profile == profile]
        assert len(mine) in ({0} if len(kept) <= n_last and not len(mine) else {n_last})
        assert not len(mine) or kept.max() <= history.at_s[mine].min()


def test_leave_one_out_keeps_the_given_order_among_ties() -> None:
    history = interactions([0, 0, 0], [5, 5, 5])
    train, held = leave_one_out(history)
    assert (train.item.tolist(), held.tolist()) == ([0, 1], [2])


def test_a_profile_without_a_history_is_not_held_out() -> None:
    train, held = leave_one_out(interactions([0, 1, 1], [1, 1, 2]))
    assert (train.profile.tolist(), held.tolist()) == ([0, 1], [2])


@settings(max_examples=50)
@given(histories(), st.floats(0.1, 0.95))
def test_global_time_never_learns_from_after_the_cutoff(history: Interactions, quantile: float) -> None:
    split = global_time(history, quantile)
    assert (split.train.at_s <= split.cutoff_s).all()
    assert (history.at_s[split.successive] > split.cutoff_s).all()
    assert set(split.last) <= set(split.successive)
    assert all(np.bincount(split.train.profile)[p] >= 2 for p in set(split.train.profile))
    assert set(history.profile[split.last]) == set(history.profile[split.successive])
    first = {profile: int(np.flatnonzero(history.profile == profile)[0]) for profile in set(history.profile)}
    assert not set(first.values()) & set(split.successive)

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recray.candidates.sequence_windows import N_GAPS, gap_size, windows
from worlds import interactions_of


@given(st.lists(st.lists(st.integers(0, 9), unique=True, max_size=10), min_size=1, max_size=4), st.integers(1, 5))
def test_windows_hold_each_transition_exactly_once(histories: list[list[int]], max_length: int) -> None:
    seen = windows(interactions_of(histories, 10), max_length)
    assert (seen.length >= 2).all()
    assert (seen.length <= max_length + 1).all()
    found = []
    for start, length in zip(seen.start, seen.length, strict=True):
        window = seen.item[start : start + length].tolist()
        found += list(pairwise(window))
    expected = [pair for history in histories for pair in pairwise(history)]
    assert sorted(found) == sorted(expected)


def test_a_batch_has_each_title_with_what_follows_it_and_when() -> None:
    seen = windows(interactions_of([[1, 2, 3], [4, 5]], 10), 6)
    batch = seen.batch(np.array([0, 1]), 10)
    hour = int(gap_size(np.array([3_600]))[0])
    assert batch.titles.tolist() == [[1, 2], [4, 10]]
    assert batch.gaps.tolist() == [[hour, hour], [hour, 0]]
    assert batch.targets.tolist() == [[2, 3], [5, 10]]


def test_gap_sizes_grow_with_the_gap_from_none_to_the_last() -> None:
    sizes = gap_size(np.array([-5, 0, 1, 2, 60, 3_600, 86_400, 10**9]))
    assert sizes.dtype == np.int32
    assert sizes[:3].tolist() == [0, 0, 1]
    assert (np.diff(sizes[2:]) > 0).all()
    assert sizes[-1] == N_GAPS - 1

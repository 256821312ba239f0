"""Orders without a ranker."""

import numpy as np

from recray.features.views import SOURCES
from recray.ranking.unranked import by_source, by_union
from recray.schema import NO_ITEM, Candidates, Objective

COWATCH = SOURCES.index("cowatch")


def candidates() -> Candidates:
    """Four titles and padding: the third and the first are proposed by cowatch, in that order."""
    items = np.array([[7, 3, 5, 9, NO_ITEM], [2, NO_ITEM, NO_ITEM, NO_ITEM, NO_ITEM]], np.int32)
    ranks = np.zeros((2, 5, len(SOURCES)), np.int32)
    ranks[0, [2, 0], COWATCH] = 1, 2
    return Candidates(items, np.zeros(ranks.shape, np.float32), ranks, np.full(items.shape, NO_ITEM, np.int32), sources=SOURCES)


def test_a_sources_order_comes_first_and_then_that_of_the_union() -> None:
    start = by_source(candidates(), "cowatch")[:, :, Objective.START]
    assert np.argsort(-start[0])[:4].tolist() == [2, 0, 1, 3]
    assert len(set(start[0, :4])) == 4
    assert start[1].argmax() == 0  # cowatch proposed nothing here


def test_without_a_ranker_the_union_keeps_its_order() -> None:
    start = by_union(candidates())[:, :, Objective.START]
    assert np.argsort(-start[0])[:4].tolist() == [0, 1, 2, 3]


def test_padding_and_what_may_follow_a_start_are_zero() -> None:
    for p in (by_source(candidates(), "cowatch"), by_union(candidates())):
        assert p.dtype == np.float32
        assert p.shape == (2, 5, len(Objective))
        assert not p[:, :, [o for o in Objective if o != Objective.START]].any()
        assert not p[0, 4:].any()
        assert not p[1, 1:].any()

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recray.candidates.source import best, union
from recray.features.views import SOURCES
from recray.schema import NO_ITEM, Retrieved

SCORES = st.sampled_from([-np.inf, np.nan, -1.5, -0.0, 0.0, 1e-30, 0.5, 2.0, np.inf])


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 12)))
    scores = draw(hnp.arrays(np.float32, shape, elements=SCORES))
    eligible = draw(hnp.arrays(np.bool_, shape))
    return scores, eligible, draw(st.integers(1, 15))


@given(scored())
def test_best_is_a_stable_sort_of_what_may_be_proposed(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    scores, eligible, k = case
    got = best(scores, eligible, k)
    for row, line in enumerate(scores):
        allowed = [i for i in range(line.size) if eligible[row, i] and not np.isnan(line[i]) and line[i] > -np.inf]
        expected = sorted(allowed, key=lambda i: (-line[i], i))[:k]
        found = got.items[row][got.items[row] >= 0]
        assert found.tolist() == expected
        assert got.scores[row, : len(expected)].tolist() == line[expected].tolist()
        assert (got.items[row, len(expected) :] == NO_ITEM).all()
        assert (got.scores[row, len(expected) :] == -np.inf).all()


def test_best_settles_ties_at_the_border_by_title_number() -> None:
    scores = np.zeros((2, 1000), np.float32)
    scores[0, 700] = 1
    assert best(scores, scores == scores, 3).items.tolist() == [[700, 0, 1], [0, 1, 2]]


def test_best_carries_the_seed_of_each_title_and_none_where_nothing_is_found() -> None:
    scores = np.array([[1, 3, -np.inf]], np.float32)
    got = best(scores, np.ones((1, 3), np.bool_), 3, np.array([[7, 8, 9]], np.int32))
    assert got.items.tolist() == [[1, 0, NO_ITEM]]
    assert got.seeds.tolist() == [[8, 7, NO_ITEM]]


def test_best_leaves_its_arguments_as_they_are_and_reads_only_titles_that_both_know() -> None:
    scores, eligible = np.arange(5, dtype=np.float32)[None], np.ones((1, 3), np.bool_)
    assert best(scores, eligible, 2).items.tolist() == [[2, 1]]
    assert scores.tolist() == [[0, 1, 2, 3, 4]]
    assert best(scores[:, :2], eligible, 5).items.tolist() == [[1, 0]]
    assert best(scores, eligible[:, :0], 5).items.shape == (1, 0)


@st.composite
def proposals(draw: st.DrawFn) -> dict[str, Retrieved]:
    n_requests = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from(SOURCES), unique=True, min_size=1))
    drawn = {}
    for name in names:
        width = draw(st.integers(0, 6))
        items = np.full((n_requests, width), NO_ITEM, np.int32)
        for row in range(n_requests):
            found = draw(st.lists(st.integers(0, 9), unique=True, max_size=width))
            items[row, : len(found)] = found
        seeds = np.where(items >= 0, draw(st.integers(-1, 3)), NO_ITEM).astype(np.int32)
        drawn[name] = Retrieved(items, -np.arange(items.size, dtype=np.float32).reshape(items.shape), seeds)
    return drawn


@settings(max_examples=200)
@given(proposals(), st.integers(1, 12))
def test_union_keeps_no_duplicate_loses_none_under_the_limit_and_goes_in_quota_rounds(
    drawn: dict[str, Retrieved], limit: int
) -> None:
    got = union(drawn, limit)
    assert got.items.shape[1] <= limit
    for row in range(len(got.items)):
        rounds = [
            (rank, SOURCES.index(name), int(item), float(part.scores[row, rank]), int(part.seeds[row, rank]))
            for name, part in drawn.items()
            for rank, item in enumerate(part.items[row])
            if item >= 0
        ]
        rounds.sort()
        expected = list(dict.fromkeys(item for _, _, item, _, _ in rounds))[:limit]
        kept = got.items[row][got.items[row] >= 0]
        assert kept.tolist() == expected
        for slot, item in enumerate(expected):
            proposing = [entry for entry in rounds if entry[2] == item]
            assert {(source, rank + 1) for rank, source, *_ in proposing} == {
                (source, int(got.ranks[row, slot, source])) for source in np.flatnonzero(got.ranks[row, slot])
            }
            for _, source, _, score, _ in proposing:
                assert got.scores[row, slot, source] == score
            assert np.count_nonzero(~np.isnan(got.scores[row, slot])) == len(proposing)
            assert got.seeds[row, slot] == next((seed for *_, seed in proposing if seed >= 0), NO_ITEM)


def test_union_of_nothing_has_no_candidates() -> None:
    assert union({}, 10).items.size == 0
    empty = np.empty((2, 0), np.int32)
    assert union({"popular": Retrieved(empty, empty.astype(np.float32), empty)}, 10).items.shape == (2, 0)

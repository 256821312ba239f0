"""Beyond-accuracy figures against slow obvious versions and at their extremes."""

import itertools
import math

import numpy as np
import pytest

from recray.evaluation import beyond


@pytest.fixture
def lists() -> np.ndarray:
    rng = np.random.default_rng(1)
    ranked = np.stack([rng.permutation(40)[:8] for _ in range(20)]).astype(np.int32)
    ranked[3, 5:] = -1
    ranked[4] = -1
    return ranked


def test_coverage_counts_distinct_titles_of_the_first_k(lists):
    distinct = {int(item) for item in lists[:, :3].ravel() if item >= 0}
    assert beyond.coverage_at(lists, 40, 3) == len(distinct) / 40
    assert beyond.coverage_at(np.full((2, 3), -1, np.int32), 40, 3) == 0


def test_gini_equals_mean_absolute_difference_over_twice_the_mean(lists):
    counts = np.bincount(lists[lists >= 0], minlength=40)
    expected = np.abs(counts[:, None] - counts[None]).mean() / (2 * counts.mean())
    assert beyond.gini(lists, 40) == pytest.approx(expected)


def test_equal_impressions_reach_the_whole_catalogue_and_one_title_reaches_one():
    even, lone = np.arange(12, dtype=np.int32).reshape(3, 4), np.full((5, 1), 7, np.int32)
    assert (beyond.gini(even, 12), beyond.effective_catalogue_size(even, 12)) == pytest.approx((0, 12))
    assert (beyond.gini(lone, 12), beyond.effective_catalogue_size(lone, 12)) == pytest.approx((11 / 12, 1))
    assert math.isnan(beyond.gini(lone[:0], 12))
    assert math.isnan(beyond.effective_catalogue_size(lone[:0], 12))


def test_effective_catalogue_size_is_the_gini_index_in_titles(lists):
    assert beyond.effective_catalogue_size(lists, 40) == pytest.approx(40 * (1 - beyond.gini(lists, 40)))


def test_diversity_equals_the_mean_over_pairs(lists):
    content = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
    content[lists[0, 0]] = 0
    found = beyond.intra_list_diversity(lists, content)
    for row, line in enumerate(lists):
        pairs = list(itertools.combinations(line[line >= 0], 2))
        if not pairs:
            assert math.isnan(found[row])
            continue
        norms = np.linalg.norm(content, axis=1)
        cosine = [content[a] @ content[b] / (norms[a] * norms[b]) if norms[a] * norms[b] else 0.0 for a, b in pairs]
        expected = np.mean([1 - c for c in cosine])
        assert found[row] == pytest.approx(expected, abs=1e-6)


def test_novelty_is_higher_for_rarer_titles_and_nan_without_titles(lists):
    plays = np.arange(40)
    shares = (plays + 1) / (plays.sum() + 40)
    found = beyond.novelty(lists, plays)
    assert math.isnan(found[4])
    assert found[3] == pytest.approx(np.mean([-math.log2(shares[item]) for item in lists[3] if item >= 0]))


def test_serendipity_leaves_out_what_is_obvious_and_what_is_not_relevant():
    ranked = np.array([[1, 2, 3, 4], [1, 2, 3, 4]], np.int32)
    obvious = np.array([[1, 2], [-1, -1]], np.int32)
    assert beyond.serendipity_at(ranked, [[1, 3, 9], [1, 3]], obvious, 4).tolist() == [0.25, 0.5]


def test_miscalibration_is_zero_for_the_same_genres_and_bounded_for_disjoint_ones():
    history = np.array([[0.3, 0.7, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    shown = np.array([[0.3, 0.7, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    found = beyond.miscalibration(history, shown)
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == pytest.approx(-math.log(0.01))
    assert math.isnan(found[2])


def test_miscalibration_equals_the_formula_of_the_paper():
    rng = np.random.default_rng(3)
    history, shown = rng.dirichlet(np.ones(5), 10), rng.dirichlet(np.ones(5), 10)
    expected = [
        sum(p * math.log(p / (0.99 * q + 0.01 * p)) for p, q in zip(*pair, strict=True))
        for pair in zip(history, shown, strict=True)
    ]
    np.testing.assert_allclose(beyond.miscalibration(history, shown), expected)


def test_genre_shares_weigh_titles_and_ignore_padding():
    genres = np.array([[True, False], [True, True], [False, False]])
    items = np.array([[0, 1, -1], [2, -1, -1]], np.int32)
    weights = np.array([[3, 1, 5], [1, 1, 1]], np.float32)
    np.testing.assert_allclose(beyond.genre_shares(items, genres, weights), [[3.5 / 4, 0.5 / 4], [0, 0]])

"""Metrics against slow obvious versions, scikit-learn, hand-worked cases, and their laws."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from recray.errors import DataError
from recray.evaluation import metrics

N_ITEMS = 30
METRICS = (
    metrics.precision_at,
    metrics.recall_at,
    metrics.hit_rate_at,
    metrics.ndcg_at,
    metrics.mrr_at,
    metrics.average_precision_at,
)
ranking = st.lists(st.integers(0, N_ITEMS - 1), unique=True, min_size=1, max_size=12)
liked = st.sets(st.integers(0, N_ITEMS - 1), min_size=1, max_size=15)
depth = st.integers(1, 15)


def slow(name, items, relevant, k):
    ranks = [rank for rank, item in enumerate(items[:k], 1) if item in relevant]
    best = min(len(relevant), k)
    return {
        "precision_at": len(ranks) / k,
        "recall_at": len(ranks) / len(relevant),
        "hit_rate_at": float(bool(ranks)),
        "ndcg_at": sum(1 / math.log2(r + 1) for r in ranks) / sum(1 / math.log2(r + 1) for r in range(1, best + 1)),
        "mrr_at": 1 / ranks[0] if ranks else 0.0,
        "average_precision_at": sum(n / r for n, r in enumerate(ranks, 1)) / best,
    }[name]


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(requests=st.lists(st.tuples(ranking, liked), min_size=1, max_size=5), k=depth)
def test_a_batch_equals_the_slow_version_request_by_request(metric, requests, k):
    ranked = np.full((len(requests), 12), -1, np.int32)
    for row, (items, _) in enumerate(requests):
        ranked[row, : len(items)] = items
    found = metric(ranked, [sorted(relevant) for _, relevant in requests], k)
    expected = [slow(metric.__name__, items, relevant, k) for items, relevant in requests]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(items=ranking, relevant=liked, k=depth)
def test_values_lie_between_zero_and_one_and_a_perfect_list_scores_best(metric, items, relevant, k):
    value = metric(np.array([items], np.int32), [sorted(relevant)], k)[0]
    perfect = np.array([sorted(relevant) + [-1] * k], np.int32)
    assert 0 <= value <= metric(perfect, [sorted(relevant)], k)[0] <= 1


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(
    items=st.lists(st.integers(0, N_ITEMS - 1), unique=True, min_size=2, max_size=12), relevant=liked, k=depth, data=st.data()
)
def test_moving_a_relevant_title_up_never_lowers_a_metric(metric, items, relevant, k, data):
    at = data.draw(st.integers(1, len(items) - 1))
    if items[at] not in relevant or items[at - 1] in relevant:
        return
    better = items.copy()
    better[at - 1], better[at] = better[at], better[at - 1]
    lower, higher = metric(np.array([items, better], np.int32), [sorted(relevant)] * 2, k)
    assert higher >= lower - 1e-12


@settings(max_examples=40, deadline=None)
@given(items=ranking, relevant=liked, k=st.integers(1, 14))
def test_recall_hit_rate_and_mrr_never_fall_with_depth(items, relevant, k):
    for metric in (metrics.recall_at, metrics.hit_rate_at, metrics.mrr_at):
        shallow, deep = (metric(np.array([items], np.int32), [sorted(relevant)], depth)[0] for depth in (k, k + 1))
        assert deep >= shallow


@pytest.mark.parametrize("metric", METRICS)
def test_one_target_per_request_equals_lists_of_one(metric):
    rng = np.random.default_rng(1)
    ranked = np.stack([rng.permutation(N_ITEMS)[:10] for _ in range(50)]).astype(np.int32)
    target = rng.integers(0, N_ITEMS, 50)
    np.testing.assert_array_equal(metric(ranked, target, 5), metric(ranked, [[item] for item in target], 5))


@pytest.mark.parametrize("metric", METRICS)
def test_a_request_with_nothing_relevant_is_nan(metric):
    ranked = np.array([[1, 2], [1, 2]], np.int32)
    assert np.isnan(metric(ranked, [[], [1]], 2)).tolist() == [True, False]
    assert np.isnan(metric(ranked, np.array([-1, 1]), 2)).tolist() == [True, False]


@pytest.mark.parametrize("metric", METRICS)
def test_a_batch_of_empty_lists_scores_zero(metric):
    assert metric(np.empty((2, 0), np.int32), [[1], [1, 2]], 3).tolist() == [0.0, 0.0]


def test_padding_is_never_a_hit():
    assert metrics.hit_rate_at(np.array([[-1, -1]], np.int32), [[0, 5]], 2).tolist() == [0.0]


def test_ndcg_and_average_precision_equal_scikit_learn():
    rng = np.random.default_rng(2)
    for _ in range(30):
        order = rng.permutation(N_ITEMS).astype(np.int32)
        relevant = np.flatnonzero(rng.random(N_ITEMS) < 0.3)
        truth, score = np.zeros(N_ITEMS), np.empty(N_ITEMS)
        truth[relevant], score[order] = 1, -np.arange(N_ITEMS)
        ndcg = metrics.ndcg_at(order[None], [relevant], 7)[0]
        assert ndcg == pytest.approx(reference.ndcg_score([truth], [score], k=7))
        whole = metrics.average_precision_at(order[None], [relevant], N_ITEMS)[0]
        assert whole == pytest.approx(reference.average_precision_score(truth, score))


def test_rmse_and_mae_equal_scikit_learn():
    rng = np.random.default_rng(3)
    predicted, actual = rng.normal(3, 1, 100), rng.integers(1, 6, 100)
    assert metrics.rmse(predicted, actual) == pytest.approx(reference.root_mean_squared_error(actual, predicted))
    assert metrics.mae(predicted, actual) == pytest.approx(reference.mean_absolute_error(actual, predicted))
    assert math.isnan(metrics.rmse([], []))
    assert math.isnan(metrics.mae([], []))


def test_a_title_twice_in_a_list_is_refused():
    message = "a ranked list holds one title twice; remove duplicates before it is judged"
    with pytest.raises(DataError, match=re.escape(message)):
        metrics.precision_at(np.array([[3, 1, 3]], np.int32), [[3]], 3)


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match=re.escape("ranked lists of shape (1, 2) came with 2 requests' relevant titles")):
        metrics.precision_at(np.array([[3, 1]], np.int32), [[3], [1]], 2)


def test_rates_by_position_cover_the_planted_rate():
    rng = np.random.default_rng(4)
    planted, covered = np.array([0.2, 0.1, 0.02]), np.zeros(3)
    for _ in range(300):
        position = rng.integers(0, 3, 900)
        rates = metrics.rates_by_position(position, rng.random(900) < planted[position], 3)
        covered += (rates.low <= planted) & (planted <= rates.high)
    assert np.all(np.abs(covered / 300 - 0.95) < 0.045)


def test_rates_by_position_equal_scipys_wilson_interval():
    for n, successes in ((7, 0), (7, 2), (40, 40)):
        rates = metrics.rates_by_position(np.zeros(n, np.int64), np.arange(n) < successes, 1, 0.9)
        expected = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
        assert (rates.low[0], rates.high[0]) == pytest.approx((expected.low, expected.high))


def test_a_position_without_trials_is_nan_and_one_out_of_range_is_refused():
    rates = metrics.rates_by_position(np.array([0]), np.array([True]), 2)
    assert np.isnan([rates.rate[1], rates.low[1], rates.high[1]]).all()
    assert math.isnan(metrics.expected_rate(rates, [1, 1]).estimate)
    assert metrics.expected_rate(rates, [1, 0]).estimate == 1.0
    with pytest.raises(DataError, match=re.escape("positions run from 0 to 2; expected 0 to 1")):
        metrics.rates_by_position(np.array([0, 2]), np.array([True, False]), 2)


def test_expected_rate_interval_equals_its_formula():
    rates = metrics.rates_by_position(np.repeat([0, 1], [50, 80]), np.arange(130) % 5 == 0, 2)
    interval = metrics.expected_rate(rates, [1, 3])
    variance = (1 / 16) * rates.rate[0] * (1 - rates.rate[0]) / 50 + (9 / 16) * rates.rate[1] * (1 - rates.rate[1]) / 80
    assert interval.high - interval.estimate == pytest.approx(1.959964 * variance**0.5, rel=1e-6)


def test_expected_rate_interval_covers_the_planted_rate():
    rng = np.random.default_rng(5)
    planted, shown, covered = np.array([0.3, 0.1]), np.array([1, 3]), 0
    for _ in range(300):
        position = rng.integers(0, 2, 800)
        interval = metrics.expected_rate(metrics.rates_by_position(position, rng.random(800) < planted[position], 2), shown)
        covered += not interval.excludes(0.15)
    assert abs(covered / 300 - 0.95) < 0.045

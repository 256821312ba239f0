import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from recray.ranking.ndcg import mean_ndcg


def test_agrees_with_scikit_learn() -> None:
    draws = np.random.default_rng(1)
    scores, gains = draws.random((20, 30), np.float32), draws.integers(0, 3, (20, 30)).astype(np.float32)
    assert mean_ndcg(scores, gains) == pytest.approx(ndcg_score(gains, scores, k=10))


def test_padding_and_requests_without_gain_do_not_count() -> None:
    scores = np.array([[0.1, 0.9, 5.0], [1, 2, 3]], np.float32)
    gains = np.array([[1, 0, np.nan], [0, 0, 0]], np.float32)
    assert mean_ndcg(scores, gains) == pytest.approx(1 / np.log2(3))


def test_nothing_to_judge_is_zero() -> None:
    assert mean_ndcg(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)) == 0.0


def test_weights_count_gains_against_what_they_come_to_at_best() -> None:
    """Of two requests the second counts three times; its start is second, that of the first is on top."""
    scores = np.array([[2, 1, 0], [2, 1, 0]], np.float32)
    gains = np.array([[1, 0, np.nan], [0, 1, 0]], np.float32)
    weight = np.array([[1, 1, 1], [1, 3, 1]], np.float32)
    assert mean_ndcg(scores, gains, weight=weight) == pytest.approx((1 + 3 / np.log2(3)) / 4)
    assert mean_ndcg(scores, gains, weight=np.ones((2, 3), np.float32)) == mean_ndcg(scores, gains)

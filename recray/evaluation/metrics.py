"""How well ranked lists, predicted ratings and logged slates did, one value per request so that intervals can be computed.

Ranked lists are [n, k] int32 title numbers, best first, padded with NO_ITEM, no title twice in a list. What is relevant is
either one target per request [n], or a sequence of n arrays of distinct titles. A request with nothing relevant (an empty
array, or the target NO_ITEM) cannot be judged: its value is NaN, so that no mean counts it silently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from recray.errors import DataError
from recray.experiments.interval import Doubles, Interval
from recray.schema import NO_ITEM, Bools, Ints, Longs

_LEAST_P: Final = 1e-15
Relevant: TypeAlias = NDArray[np.integer[Any]] | Sequence[ArrayLike]


def hits_at(ranked: Ints, relevant: Relevant, k: int) -> tuple[Bools, Longs]:
    """Which of the first k places hold a relevant title [n, min(k, width)] bool, and how many titles are relevant [n].

    Lists of no width count as one place of padding.

    >>> hits, n_relevant = hits_at(np.array([[7, 3, -1]], np.int32), [[3, 9]], 3)
    >>> hits.tolist(), n_relevant.tolist()
    ([[False, True, False]], [2])

    Raises:
        DataError: the lengths differ, k is below 1, or a list holds a title twice.
    """
    ranked = np.asarray(ranked)
    if ranked.ndim != 2 or len(ranked) != len(relevant) or k < 1:
        raise DataError(
            f"ranked lists of shape {ranked.shape} came with {len(relevant)} requests' relevant titles and k = {k}; "
            "expected [n, width], n and k >= 1"
        )
    ordered = np.sort(ranked, axis=1)
    if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
        raise DataError("a ranked list holds one title twice; remove duplicates before it is judged")
    top = ranked[:, :k] if ranked.shape[1] else np.full((len(ranked), 1), NO_ITEM, np.int32)
    if isinstance(relevant, np.ndarray) and relevant.ndim == 1 and relevant.dtype != np.object_:
        return (top == relevant[:, None]) & (top >= 0), (relevant >= 0).astype(np.int64)
    lists = [np.asarray(items, np.int64) for items in relevant]
    n_relevant = np.array([items.size for items in lists], np.int64)
    if not n_relevant.any():
        return np.zeros(top.shape, np.bool_), n_relevant
    # One number per (request, title) makes the membership test of all requests a single sorted look-up.
    stride = max(int(max(items.max(initial=0) for items in lists)), int(top.max(initial=0))) + 1
    keys = np.concatenate([row * stride + items for row, items in enumerate(lists)])
    asked = np.arange(len(top), dtype=np.int64)[:, None] * stride + top
    return np.isin(asked, keys) & (top >= 0), n_relevant


def _judged(values: Doubles, n_relevant: Longs) -> Doubles:
    return np.where(n_relevant > 0, values, np.nan)


def _discounts(k: int) -> Doubles:
    return 1 / np.log2(np.arange(2, k + 2))


def precision_at(ranked: Ints, relevant: Relevant, k: int) -> Doubles:
    """Share of the first k places that hold a relevant title [n] float64: |top k and relevant| / k.

    Places that are padding or lie beyond the list count as misses.

    >>> precision_at(np.array([[5, 2, 8, 1]], np.int32), [[2, 1, 6]], 4).tolist()
    [0.5]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    return _judged(hits.sum(axis=1) / k, n_relevant)


def recall_at(ranked: Ints, relevant: Relevant, k: int) -> Doubles:
    """Share of the relevant titles among the first k places [n] float64: |top k and relevant| / |relevant|.

    >>> recall_at(np.array([[5, 2, 8, 1]], np.int32), [[2, 1, 6, 4]], 4).tolist()
    [0.5]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    return _judged(hits.sum(axis=1) / np.maximum(n_relevant, 1), n_relevant)


def hit_rate_at(ranked: Ints, relevant: Relevant, k: int) -> Doubles:
    """1 where any of the first k places holds a relevant title, else 0 [n] float64.

    >>> hit_rate_at(np.array([[5, 2], [5, 2]], np.int32), np.array([2, 9]), 2).tolist()
    [1.0, 0.0]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    found: Doubles = np.any(hits, axis=1).astype(np.float64)
    return _judged(found, n_relevant)


def ndcg_at(ranked: Ints, relevant: Relevant, k: int) -> Doubles:
    """Normalized discounted cumulative gain with binary gains [n] float64 [Jarvelin2002].

    Sum over hits in the first k ranks of 1 / log2(rank + 1), divided by that sum of the ideal list, whose first
    min(|relevant|, k) ranks are hits. With one target it is 1 / log2(rank + 1) of the target.

    Relevant at ranks 1 and 3 of two relevant titles: (1 + 1/2) / (1 + 1/log2(3)) = 0.9197.

    >>> ndcg_at(np.array([[4, 6, 9]], np.int32), [[4, 9]], 3).round(4).tolist()
    [0.9197]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    # Added up in the same order as the ideal, so that a perfect list scores exactly 1.
    gain = np.cumsum(hits * _discounts(hits.shape[1]), axis=1)[:, -1]
    ideal = np.concatenate(([0.0], np.cumsum(_discounts(k))))[np.minimum(n_relevant, k)]
    return _judged(gain / np.where(ideal > 0, ideal, 1), n_relevant)


def mrr_at(ranked: Ints, relevant: Relevant, k: int) -> Doubles:
    """Reciprocal rank of the first relevant title, 0 when none is among the first k [n] float64.

    >>> mrr_at(np.array([[4, 6, 9], [4, 6, 9]], np.int32), np.array([6, 9]), 2).tolist()
    [0.5, 0.0]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    first = np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)
    return _judged(first, n_relevant)


def average_precision_at(ranked: Ints, relevant: Relevant, k: int) -> Doubles:
    """Mean over relevant titles of the precision at their rank, 0 beyond rank k [n] float64; its mean is MAP@k.

    Sum over hits at rank i <= k of precision@i, divided by min(|relevant|, k). Hits at ranks 1 and 3 of two: (1 + 2/3) / 2.

    >>> average_precision_at(np.array([[4, 6, 9]], np.int32), [[4, 9]], 3).round(4).tolist()
    [0.8333]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return _judged((precision * hits).sum(axis=1) / np.maximum(np.minimum(n_relevant, k), 1), n_relevant)


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Root of the mean squared error; NaN when nothing was predicted.

    >>> rmse([3.0, 5.0], [4.0, 5.0]) == 0.5**0.5
    True
    """
    error = np.asarray(predicted, np.float64) - np.asarray(actual, np.float64)
    return float(np.sqrt(np.mean(error**2))) if error.size else float("nan")


def mae(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Mean absolute error; NaN when nothing was predicted.

    >>> mae([3.0, 5.0], [4.0, 5.0])
    0.5
    """
    error = np.asarray(predicted, np.float64) - np.asarray(actual, np.float64)
    return float(np.mean(np.abs(error))) if error.size else float("nan")


def log_loss(p: ArrayLike) -> float:
    """Mean of -ln of the probability that was given to what happened; NaN when nothing was predicted.

    A probability below 1e-15 counts as that much: one impossible outcome does not hide every other.

    >>> round(log_loss([0.5, 0.25]), 4)
    1.0397
    """
    given = np.maximum(np.asarray(p, np.float64), _LEAST_P)
    return float(-np.log(given).mean()) if given.size else float("nan")


@dataclass(slots=True, frozen=True)
class PositionRates:
    """How often an outcome followed, by position [n_positions]: `n` trials, and `rate`, `low`, `high`, NaN without trials."""

    n: Longs
    rate: Doubles
    low: Doubles
    high: Doubles


def rates_by_position(position: Ints, outcome: Bools, n_positions: int, confidence: float = 0.95) -> PositionRates:
    """Share of logged placements with the outcome, by position from 0, with Wilson's interval [Wilson1927].

    Expected click-through rate: one row per impression, outcome = clicked. Conversion: one row per click, outcome =
    completed. Centre (s + z^2/2) / (n + z^2), half-width z sqrt(s (n - s) / n + z^2/4) / (n + z^2), s successes of n.

    >>> rates = rates_by_position(np.array([0, 0, 0, 0, 1]), np.array([True, False, True, False, False]), 2)
    >>> rates.rate.tolist(), rates.low.round(3).tolist(), rates.high.round(3).tolist()
    ([0.5, 0.0], [0.15, 0.0], [0.85, 0.793])

    Raises:
        DataError: a position lies outside 0..n_positions-1.
    """
    if position.size and (position.min() < 0 or position.max() >= n_positions):
        raise DataError(f"positions run from {position.min()} to {position.max()}; expected 0 to {n_positions - 1}")
    n = np.bincount(position, minlength=n_positions)
    successes = np.bincount(position, weights=outcome, minlength=n_positions)
    z = special.ndtri((1 + confidence) / 2)
    with np.errstate(invalid="ignore"):
        rate = successes / n
        half = z * np.sqrt(successes * (n - successes) / n + z**2 / 4) / (n + z**2)
    centre = (successes + z**2 / 2) / (n + z**2)
    return PositionRates(n, rate, np.maximum(centre - half, 0), np.minimum(centre + half, 1))


def expected_rate(rates: PositionRates, shown: ArrayLike, confidence: float = 0.95) -> Interval:
    """Rate to expect of slates that fill position p `shown[p]` times: the rates' mean weighted by `shown` [n_positions].

    Normal interval, positions taken as independent. A position that is shown but was never logged makes it NaN.

    >>> rates = rates_by_position(np.array([0, 0, 1, 1]), np.array([True, False, False, False]), 2)
    >>> expected_rate(rates, [3, 1]).estimate
    0.375
    """
    share = np.asarray(shown, np.float64) / np.sum(shown)
    used = share > 0
    n, rate, share = rates.n[used], rates.rate[used], share[used]
    estimate = float(share @ rate)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = float(np.sqrt(np.sum(share**2 * rate * (1 - rate) / n)))
    half = float(special.ndtri((1 + confidence) / 2)) * deviation
    return Interval(estimate, max(estimate - half, 0.0), min(estimate + half, 1.0))

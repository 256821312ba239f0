"""An estimate with its interval, and the bootstrap that gives one to any function of means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class Interval:
    """An estimate between two bounds; the function that made it says at which confidence."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def excludes(self, value: float) -> bool:
        """Whether the value lies strictly outside the bounds."""
        return value < self.low or value > self.high


def resampled_means(columns: NDArray[Any], n_resamples: int, rng: np.random.Generator) -> Doubles:
    """Column means [n_resamples, n_columns] of rows drawn with replacement, the same rows for every column [Efron1979].

    `columns` is [n, n_columns]. Columns that go through one call stay paired, so their differences and ratios may be
    taken afterwards. n = 0 gives NaN.
    """
    n = len(columns)
    if n == 0:
        return np.full((n_resamples, columns.shape[1]), np.nan)
    means = np.empty((n_resamples, columns.shape[1]))
    for resample in range(n_resamples):
        means[resample] = np.bincount(rng.integers(0, n, n), minlength=n) @ columns / n
    return means


def bootstrap(
    columns: NDArray[Any],
    statistic: Callable[[Doubles], Doubles],
    confidence: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """Percentile bootstrap of a function of column means: `statistic` maps means [m, n_columns] to values [m].

    >>> rng = np.random.default_rng(0)
    >>> bootstrap(np.ones((50, 1)), lambda means: means[:, 0], 0.95, 20, rng)
    Interval(estimate=1.0, low=1.0, high=1.0)
    """
    drawn = statistic(resampled_means(columns, n_resamples, rng))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(columns.mean(axis=0, keepdims=True))[0]), float(low), float(high))

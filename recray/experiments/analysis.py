"""Whether an arm was better: split check, lift, variance reduction, intervals that may be watched, and how many units it takes.

Analyse one value per assigned unit (a viewer, not an impression), of units that met the difference between the arms. Arms
enter as a `Sample`: count, mean and variance suffice for every interval here, so a running test needs no raw values.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from recray.errors import DataError
from recray.experiments.interval import Doubles, Interval

SAMPLE_RATIO_ALPHA: Final = 0.0005
"""A split less likely than this is broken, and its test is not to be read [Fabijan2019]."""


@dataclass(slots=True, frozen=True)
class Sample:
    """One arm's units: how many, their mean and their variance (of single units, n - 1 in the denominator)."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """From one value per unit [n].

        Raises:
            DataError: fewer than two values.
        """
        column = np.asarray(values, np.float64)
        if column.size < 2:
            raise DataError(f"an arm has {column.size} units; expected at least 2 to know their variance")
        return cls(column.size, float(column.mean()), float(column.var(ddof=1)))

    @classmethod
    def of_ratio(cls, numerator: ArrayLike, denominator: ArrayLike) -> Self:
        """Of a ratio of sums, as clicks per impression, from one pair per unit, by the delta method [Deng2018].

        The mean is sum(numerator) / sum(denominator); the variance that of (numerator - mean * denominator) / mean denominator.

        >>> Sample.of_ratio([1, 2, 3], [2, 4, 6])
        Sample(n=3, mean=0.5, variance=0.0)

        Raises:
            DataError: fewer than two units, or the denominators sum to 0.
        """
        above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
        if below.size and below.sum() == 0:
            raise DataError("the denominators sum to 0; a ratio needs at least one unit with a positive denominator")
        spread = cls.of((above - above.sum() / below.sum() * below) / below.mean())
        return cls(spread.n, float(above.sum() / below.sum()), spread.variance)

    @property
    def squared_error(self) -> float:
        """Variance of the mean."""
        return self.variance / self.n


@dataclass(slots=True, frozen=True)
class Lift:
    """Treatment against control: `absolute` difference, `relative` difference (0.02 is +2 %), and the two-sided p-value."""

    absolute: Interval
    relative: Interval
    p_value: float


def sample_ratio(counts: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """The p-value of the arms' unit counts under the weights they were assigned with (chi-square) [Fabijan2019].

    Below `SAMPLE_RATIO_ALPHA` assignment or logging is broken: find the cause before any other figure is read. Leave the user
    holdout out of the counts.

    >>> round(sample_ratio({"deep": 5000, "boosted": 5000}, {"deep": 1, "boosted": 1}), 3)
    1.0
    >>> sample_ratio({"deep": 5200, "boosted": 4800}, {"deep": 1, "boosted": 1}) < SAMPLE_RATIO_ALPHA
    True

    Raises:
        DataError: an arm was counted that has no weight.
    """
    strangers = [arm for arm, n in counts.items() if n and not weights.get(arm)]
    if strangers:
        raise DataError(f"units were counted in arms {strangers}, which have no weight; expected {sorted(weights)}")
    arms = [arm for arm, weight in weights.items() if weight > 0]
    share = np.array([weights[arm] for arm in arms]) / math.fsum(weights.values())
    seen = np.array([counts.get(arm, 0) for arm in arms])
    return float(stats.chisquare(seen, share * seen.sum()).pvalue) if seen.sum() and len(arms) > 1 else 1.0


def welch(control: Sample, treatment: Sample, confidence: float = 0.95) -> Lift:
    """Lift with intervals for one look at a time fixed beforehand [Welch1947]; the relative one by the delta method.

    Look once: a test that is watched needs `always_valid`. The relative interval is NaN where the control's mean is 0.
    """
    difference = treatment.mean - control.mean
    squared = control.squared_error + treatment.squared_error
    if squared == 0:
        return Lift(_around(difference, 0.0), _relative(control, treatment, 0.0), float(difference == 0))
    freedom = squared**2 / sum(arm.squared_error**2 / (arm.n - 1) for arm in (control, treatment))
    quantile = float(special.stdtrit(freedom, (1 + confidence) / 2))
    p_value = 2 * float(special.stdtr(freedom, -abs(difference) / math.sqrt(squared)))
    return Lift(_around(difference, quantile * math.sqrt(squared)), _relative(control, treatment, quantile), p_value)


def _around(estimate: float, half: float) -> Interval:
    return Interval(estimate, estimate - half, estimate + half)


def _relative(control: Sample, treatment: Sample, quantile: float) -> Interval:
    if control.mean == 0:
        return _around(math.nan, math.nan)
    ratio = treatment.mean / control.mean
    error = math.sqrt(treatment.squared_error + ratio**2 * control.squared_error) / abs(control.mean)
    return _around(ratio - 1, quantile * error)


def always_valid(control: Sample, treatment: Sample, n_planned: int, confidence: float = 0.95) -> Interval:
    """Interval of the absolute difference that holds at all looks at once: an asymptotic confidence sequence [WaudbySmith2021].

    With t units in both arms, sigma^2 = t times the squared error of the difference, and a = 1 - confidence, the half-width is
    sigma sqrt(2 (t rho^2 + 1) / (t rho)^2 log(sqrt(t rho^2 + 1) / a)), rho chosen to be narrowest at t = `n_planned`.
    Stop whenever it excludes 0. At `n_planned` it is about 1.55 times as wide as one fixed look's at 95 %. Valid once each arm
    has some dozens of units with a response; before that the variances are not known well enough.

    >>> arm = Sample(1000, 0.1, 0.09)
    >>> interval = always_valid(arm, Sample(1000, 0.16, 0.09), 2000)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.019, 0.101)
    """
    alpha, n = 1 - confidence, control.n + treatment.n
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / n_planned)
    sigma = math.sqrt(n * (control.squared_error + treatment.squared_error))
    grown = n * rho**2 + 1
    half = sigma * math.sqrt(2 * grown / (n * rho) ** 2 * math.log(math.sqrt(grown) / alpha))
    return _around(treatment.mean - control.mean, half)


def cuped(control: Doubles, treatment: Doubles, control_before: Doubles, treatment_before: Doubles) -> tuple[Doubles, Doubles]:
    """Both arms' values with what the units did before the test taken out: smaller variance, same expected lift [Deng2013].

    Each value loses theta times (its covariate - the covariate's mean over both arms), theta the slope within arms. The
    variance falls by the squared correlation. The covariate must lie before assignment: nothing the arm could change.

    >>> control, treatment = cuped(np.array([1.0, 2, 3]), np.array([2.0, 3, 4]), np.array([1.0, 2, 3]), np.array([1.0, 2, 3]))
    >>> control.tolist(), treatment.tolist()
    ([2.0, 2.0, 2.0], [3.0, 3.0, 3.0])
    """
    pairs = ((control, control_before), (treatment, treatment_before))
    covariance = math.fsum(float((values - values.mean()) @ (before - before.mean())) for values, before in pairs)
    variance = math.fsum(float(((before - before.mean()) ** 2).sum()) for _, before in pairs)
    theta = covariance / variance if variance > 0 else 0.0
    centre = np.concatenate((control_before, treatment_before)).mean()
    return control - theta * (control_before - centre), treatment - theta * (treatment_before - centre)


def n_per_arm(deviation: float, effect: float, power: float = 0.8, confidence: float = 0.95) -> int:
    """Units that each of two equal arms needs to find an absolute effect, two-sided, with one look at the end.

    2 (z_(1 - a/2) + z_power)^2 deviation^2 / effect^2, rounded up. For a rate p the deviation is sqrt(p (1 - p)).

    >>> n_per_arm(deviation=1.0, effect=0.1)
    1570
    """
    reach = float(special.ndtri((1 + confidence) / 2) + special.ndtri(power))
    return math.ceil(2 * (reach * deviation / effect) ** 2)


def detectable_effect(deviation: float, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """The smallest absolute effect that two arms of n units each find with the given power: `n_per_arm` solved for it.

    >>> round(detectable_effect(deviation=1.0, n=1570), 3)
    0.1
    """
    reach = float(special.ndtri((1 + confidence) / 2) + special.ndtri(power))
    return reach * deviation * math.sqrt(2 / n)

"""What another policy would have earned, from logged placements with their propensities, without showing it to anyone.

The estimators read one row per logged placement (`Logged`), whatever the policies and contexts were: a slate's placements
are rows of their own, each with the probability of that title at that position. Every estimator is a function of column
means, so one bootstrap serves them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recray.errors import DataError
from recray.experiments.interval import Doubles, Interval, bootstrap
from recray.schema import Ints

SHRINKAGES: Final = (10.0, 50.0, 100.0, 500.0, 1e3, 5e3, 1e4, float("inf"))
"""Hyper-parameters that `estimate` chooses among for Switch-DR and DRos, as in [Saito2021]."""


@dataclass(slots=True, frozen=True)
class Logged:
    """Logged placements [n] float64 as a target policy sees them.

    `reward` is what followed; `propensity` in (0, 1] the logging policy's probability of the placement; `target` in [0, 1]
    the target policy's; `predicted` a model's reward of the placement made; `predicted_target` the model's mean reward over
    the target policy's placements in the same context. Without a model both are zero, and DR becomes IPS.
    """

    reward: Doubles
    propensity: Doubles
    target: Doubles
    predicted: Doubles
    predicted_target: Doubles

    def __post_init__(self) -> None:
        """Refuse columns that no policy can have logged.

        Raises:
            DataError: lengths differ, the log is empty, or a probability is out of range.
        """
        columns = (self.reward, self.propensity, self.target, self.predicted, self.predicted_target)
        if {column.shape for column in columns} != {(len(self.reward),)} or not len(self.reward):
            raise DataError(f"columns of shapes {[c.shape for c in columns]} came; expected five of one length [n], n >= 1")
        if not np.all((self.propensity > 0) & (self.propensity <= 1)):
            raise DataError(
                f"propensities run from {self.propensity.min()} to {self.propensity.max()}; expected (0, 1]: "
                "only placements that the logging policy could make can be reweighted"
            )
        if not np.all((self.target >= 0) & (self.target <= 1)):
            raise DataError(f"target probabilities run from {self.target.min()} to {self.target.max()}; expected [0, 1]")

    @property
    def weight(self) -> Doubles:
        """Importance weights target / propensity [n]."""
        return self.target / self.propensity


def logged(
    reward: Doubles,
    propensity: Doubles,
    action: Ints,
    policy: Doubles,
    rewards: Doubles | None = None,
) -> Logged:
    """Logged placements from the action taken [n], the target policy's probabilities [n, n_actions] and a model's rewards of
    all actions [n, n_actions]; one row [1, n_actions] of either serves every placement.
    """
    rows = np.arange(len(action))
    policy = np.broadcast_to(policy, (len(action), policy.shape[1]))
    modelled = np.broadcast_to(np.zeros((1, 1)) if rewards is None else rewards, policy.shape)
    return Logged(
        reward.astype(np.float64),
        propensity,
        policy[rows, action],
        modelled[rows, action],
        np.einsum("na,na->n", policy, modelled),
    )


def cross_fitted_rewards(
    action: Ints, reward: Doubles, n_actions: int, rng: np.random.Generator, n_folds: int = 3, strength: float = 100.0
) -> Doubles:
    """A context-free reward model [n, n_actions] float64: mean reward by action, shrunk to the mean of all.

    A row's values come from the other folds only, so a row never predicts itself. `strength` is the number of rows at
    the overall mean that each action is given beforehand.
    """
    fold = rng.permutation(len(action)) % n_folds
    table = np.empty((n_folds, n_actions))
    for out in range(n_folds):
        kept = fold != out
        total = np.bincount(action[kept], weights=reward[kept], minlength=n_actions)
        table[out] = (total + strength * reward[kept].mean()) / (np.bincount(action[kept], minlength=n_actions) + strength)
    return table[fold]


def effective_sample_size(weight: Doubles) -> float:
    """How many rows drawn from the target policy would be worth as much: (sum w)^2 / sum w^2 [Kong1992]; 0 when all are 0.

    >>> effective_sample_size(np.array([3.0, 0.0, 0.0, 3.0]))
    2.0
    """
    square = float(weight @ weight)
    return float(weight.sum()) ** 2 / square if square > 0 else 0.0


def _columns(log: Logged, weight: Doubles, *, modelled: bool, corrected: bool) -> Doubles:
    """Base, correction and weight [n, 3], whose means give base + correction, or base + correction / weight."""
    base = log.predicted_target if modelled else np.zeros_like(weight)
    residual = log.reward - (log.predicted if modelled else 0.0)
    return np.stack((base, weight * residual if corrected else np.zeros_like(weight), weight), axis=1)


def _plain(means: Doubles) -> Doubles:
    return means[:, 0] + means[:, 1]


def _normalized(means: Doubles) -> Doubles:
    return means[:, 0] + np.divide(means[:, 1], means[:, 2], out=np.zeros(len(means)), where=means[:, 2] > 0)


def ips(log: Logged) -> float:
    """Inverse propensity score, mean of w r [Horvitz1952]. Unbiased where every target placement could be logged.

    Rewards 1, 0 with weights 0.5/0.25 and 0.5/0.75: (2 + 0) / 2 = 1.

    >>> log = logged(np.array([1.0, 0.0]), np.array([0.25, 0.75]), np.array([0, 1]), np.array([[0.5, 0.5]]))
    >>> ips(log), round(snips(log), 4)
    (1.0, 0.75)
    """
    return float(_plain(_columns(log, log.weight, modelled=False, corrected=True).mean(axis=0, keepdims=True))[0])


def snips(log: Logged) -> float:
    """Self-normalized IPS, sum of w r / sum of w: slightly biased, far steadier [Swaminathan2015]; 0 when all weights are 0."""
    return float(_normalized(_columns(log, log.weight, modelled=False, corrected=True).mean(axis=0, keepdims=True))[0])


def direct(log: Logged) -> float:
    """Direct method, mean of the model's reward under the target policy: no variance from weights, all of the model's bias."""
    return float(log.predicted_target.mean())


def doubly_robust(log: Logged, weight: Doubles | None = None) -> float:
    """Doubly robust, mean of q_target + w (r - q): unbiased when the propensities or the model are right [Dudik2014].

    `weight` replaces the importance weights (see `switched`, `shrunk`).

    A model that says 0.5 throughout, weights 2 and 2/3, rewards 1 and 0: 0.5 + (2 * 0.5 - 2/3 * 0.5) / 2 = 0.8333.

    >>> log = logged(np.array([1.0, 0.0]), np.array([0.25, 0.75]), np.array([0, 1]), np.full((1, 2), 0.5), np.full((1, 2), 0.5))
    >>> round(doubly_robust(log), 4), round(self_normalized_doubly_robust(log), 4)
    (0.8333, 0.75)
    """
    weight = log.weight if weight is None else weight
    return float(_plain(_columns(log, weight, modelled=True, corrected=True).mean(axis=0, keepdims=True))[0])


def self_normalized_doubly_robust(log: Logged) -> float:
    """Doubly robust with its correction divided by the mean weight: mean q_target + sum w (r - q) / sum w [Saito2021]."""
    return float(_normalized(_columns(log, log.weight, modelled=True, corrected=True).mean(axis=0, keepdims=True))[0])


def switched(weight: Doubles, threshold: float) -> Doubles:
    """Weights of Switch-DR: w where w <= threshold, else 0, which leaves the row to the model [Wang2017]."""
    return np.where(weight <= threshold, weight, 0.0)


def shrunk(weight: Doubles, shrinkage: float) -> Doubles:
    """Weights of DRos, DR with optimistic shrinkage: shrinkage w / (w^2 + shrinkage) [Su2020]. Infinity leaves w.

    >>> shrunk(np.array([1.0, 10.0]), 100.0).round(3).tolist(), shrunk(np.array([4.0]), float("inf")).tolist()
    ([0.99, 5.0], [4.0])
    """
    return weight if np.isinf(shrinkage) else shrinkage * weight / (weight**2 + shrinkage)


def choose_by_slope(candidates: Sequence[tuple[float, Doubles]], log: Logged) -> float:
    """The most biased hyper-parameter whose interval still meets those of all less biased ones (Lepski's rule) [Su2020b].

    `candidates` are (hyper-parameter, weights [n]) from the least biased to the most. Intervals are two standard errors
    of the DR rows; the first one that is disjoint stops the walk.
    """
    low, high, chosen = -np.inf, np.inf, candidates[0][0]
    for hyper, weight in candidates:
        rows = log.predicted_target + weight * (log.reward - log.predicted)
        half = 2 * float(rows.std()) / len(rows) ** 0.5
        low, high = max(low, float(rows.mean()) - half), min(high, float(rows.mean()) + half)
        if low > high:
            break
        chosen = hyper
    return chosen


def _choices(log: Logged) -> Mapping[str, Doubles]:
    falling = sorted(SHRINKAGES, reverse=True)
    options = {
        "switch_dr": [(hyper, switched(log.weight, hyper)) for hyper in falling],
        "dros": [(hyper, shrunk(log.weight, hyper)) for hyper in falling],
    }
    return {name: dict(candidates)[choose_by_slope(candidates, log)] for name, candidates in options.items()}


def estimate(log: Logged, confidence: float, n_resamples: int, rng: np.random.Generator) -> dict[str, Interval]:
    """Every estimator's value of the target policy with its percentile bootstrap interval, resampling placements.

    Keys: ips, snips, dm, dr, sndr, switch_dr, dros. Hyper-parameters are chosen once, on the log as it is. The interval of
    dm knows nothing of the model's own error. Read all next to `effective_sample_size(log.weight)`: below a few hundred
    no interval is to be trusted.
    """
    plain = {
        "ips": _columns(log, log.weight, modelled=False, corrected=True),
        "dm": _columns(log, log.weight, modelled=True, corrected=False),
        "dr": _columns(log, log.weight, modelled=True, corrected=True),
    } | {name: _columns(log, weight, modelled=True, corrected=True) for name, weight in _choices(log).items()}
    normalized = {"snips": plain["ips"], "sndr": plain["dr"]}
    found = {}
    for name, columns in plain.items():
        found[name] = bootstrap(columns, _plain, confidence, n_resamples, rng)
    for name, columns in normalized.items():
        found[name] = bootstrap(columns, _normalized, confidence, n_resamples, rng)
    return found

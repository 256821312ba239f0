"""Online choice among few actions (rows, arms, artworks) that reports with which probability it chose."""

import functools
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import special

from recray.errors import ConfigError
from recray.experiments.interval import Doubles
from recray.schema import Longs


@functools.cache
def _quadrature() -> tuple[Doubles, Doubles]:
    """Gauss-Legendre nodes in (0, 1) and their weights; 128 give probabilities to about 1e-4, and take 20 ms to find."""
    nodes, weights = np.polynomial.legendre.leggauss(128)
    return (nodes + 1) / 2, weights / 2


def _draw(probabilities: Doubles, rng: np.random.Generator) -> tuple[Longs, Doubles]:
    """Actions [B] and their propensities [B] from rows of probabilities [B, n_actions]."""
    edges = np.cumsum(probabilities, axis=1)
    drawn = (rng.random(len(edges))[:, None] * edges[:, -1:] >= edges).sum(axis=1)
    actions = np.minimum(drawn, edges.shape[1] - 1).astype(np.int64)
    return actions, probabilities[np.arange(len(edges)), actions]


@dataclass(slots=True)
class ThompsonSampling:
    """Thompson sampling with Bernoulli rewards and Beta beliefs [Thompson1933].

    `successes` and `failures` [n_actions] float64 include the prior's counts. An action's probability is that it is the
    best under the beliefs, found by quadrature, then mixed with `min_probability` for every action: the draw and its logged
    propensity come from the same numbers, and off-policy estimates have support everywhere.
    """

    successes: Doubles
    failures: Doubles
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.min_probability * len(self.successes) <= 1:
            raise ConfigError(
                f"min_probability {self.min_probability} for {len(self.successes)} actions; expected 0 to 1 / n_actions"
            )

    @classmethod
    def fresh(cls, n_actions: int, min_probability: float = 0.01) -> Self:
        """Beliefs before any reward: every success rate equally likely."""
        return cls(np.ones(n_actions), np.ones(n_actions), min_probability)

    def probabilities(self) -> Doubles:
        """Probability of each action [n_actions], summing to 1.

        P(i is best) = integral over u in (0, 1) of the product over j != i of F_j(F_i^-1(u)), F the Beta distributions.
        """
        nodes, weights = _quadrature()
        points = special.betaincinv(self.successes[:, None], self.failures[:, None], nodes)
        below = special.betainc(self.successes[:, None, None], self.failures[:, None, None], points[None])
        n = len(self.successes)
        below[np.arange(n), np.arange(n)] = 1.0
        best = below.prod(axis=0) @ weights
        return self.min_probability + (1 - n * self.min_probability) * best / best.sum()

    def choose(self, n_requests: int, rng: np.random.Generator) -> tuple[Longs, Doubles]:
        """Actions [n_requests] int64, drawn independently, and their propensities in (0, 1]."""
        return _draw(np.broadcast_to(self.probabilities(), (n_requests, len(self.successes))), rng)

    def update(self, actions: Longs, rewards: Doubles) -> None:
        """Fold rewards [B] in [0, 1] into the beliefs; a reward between counts as part success, part failure."""
        n = len(self.successes)
        won = np.bincount(actions, weights=rewards, minlength=n)
        self.successes = self.successes + won
        self.failures = self.failures + np.bincount(actions, minlength=n) - won


@dataclass(slots=True)
class LinUCB:
    """LinUCB with one ridge regression per action [Li2010], explored a little at random so that propensities are not all 1.

    `gram` [n_actions, dim, dim] and `moment` [n_actions, dim] float64 are the sufficient statistics. The action with the
    highest theta.x + alpha sqrt(x' gram^-1 x) is taken with probability 1 - epsilon (1 - 1/n_actions), ties by lower
    number, every other with epsilon / n_actions.
    """

    gram: Doubles
    moment: Doubles
    alpha: float = 1.0
    epsilon: float = 0.05

    @classmethod
    def fresh(cls, n_actions: int, dim: int, alpha: float = 1.0, epsilon: float = 0.05) -> Self:
        """Regressions before any reward, with ridge 1."""
        return cls(np.tile(np.eye(dim), (n_actions, 1, 1)), np.zeros((n_actions, dim)), alpha, epsilon)

    def bounds(self, contexts: Doubles) -> Doubles:
        """Upper confidence bound of each action's reward [B, n_actions] in contexts [B, dim]."""
        inverse = np.linalg.inv(self.gram)
        theta = np.einsum("ade,ae->ad", inverse, self.moment)
        spread = np.einsum("bd,ade,be->ba", contexts, inverse, contexts, optimize=True)
        return contexts @ theta.T + self.alpha * np.sqrt(np.maximum(spread, 0))

    def probabilities(self, contexts: Doubles) -> Doubles:
        """Probability of each action in each context [B, n_actions]."""
        bounds = self.bounds(contexts)
        n = bounds.shape[1]
        chances = np.full(bounds.shape, self.epsilon / n)
        chances[np.arange(len(bounds)), bounds.argmax(axis=1)] += 1 - self.epsilon
        return chances

    def choose(self, contexts: Doubles, rng: np.random.Generator) -> tuple[Longs, Doubles]:
        """Actions [B] int64 in contexts [B, dim] and their propensities in (0, 1]."""
        return _draw(self.probabilities(contexts), rng)

    def update(self, contexts: Doubles, actions: Longs, rewards: Doubles) -> None:
        """Fold rewards [B] of actions taken in contexts [B, dim] into the regressions."""
        np.add.at(self.gram, actions, contexts[:, :, None] * contexts[:, None, :])
        np.add.at(self.moment, actions, contexts * rewards[:, None])

"""Which of two rankings viewers prefer, from one list that holds both: team-draft interleaving [Radlinski2008]."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from recray.experiments.interval import Interval
from recray.schema import Bools, Bytes, Ints

TEAM_A: Final = 0
TEAM_B: Final = 1


@dataclass(slots=True, frozen=True)
class Interleaved:
    """One list of two teams: `items` [k] int32 without duplicates, `team` [k] uint8, TEAM_A or TEAM_B, by position."""

    items: Ints
    team: Bytes


def team_draft(a: Ints, b: Ints, k: int, rng: np.random.Generator) -> Interleaved:
    """Up to k titles, picked in rounds: each ranking adds its best title not yet taken, a coin says who goes first.

    `a` and `b` are title numbers, best first; NO_ITEM is skipped. When one ranking has no title left the other fills the
    list alone. Within the rounds team sizes differ by at most one.

    >>> drafted = team_draft(np.array([1, 2, 3]), np.array([1, 2, 3]), 3, np.random.default_rng(0))
    >>> drafted.items.tolist(), len(set(drafted.team[:2].tolist()))
    ([1, 2, 3], 2)
    """
    lists = ([int(item) for item in a if item >= 0], [int(item) for item in b if item >= 0])
    at, taken = [0, 0], dict[int, int]()
    while len(taken) < k and any(at[team] < len(lists[team]) for team in (TEAM_A, TEAM_B)):
        first = int(rng.integers(2))
        for team in (first, 1 - first):
            while at[team] < len(lists[team]) and lists[team][at[team]] in taken:
                at[team] += 1
            if at[team] < len(lists[team]) and len(taken) < k:
                taken[lists[team][at[team]]] = team
    return Interleaved(np.array(list(taken), np.int32), np.array(list(taken.values()), np.uint8))


def credit(team: Bytes, engaged: Bools) -> float:
    """A request's credit in [-1, 1]: share of the engagements on A's titles minus that on B's; 0 without engagement.

    >>> credit(np.array([0, 1, 0], np.uint8), np.array([True, False, True]))
    1.0
    """
    n = int(engaged.sum())
    return float(np.where(team[engaged] == TEAM_A, 1, -1).sum() / n) if n else 0.0


def preference(credits: np.ndarray[tuple[int], np.dtype[np.float64]], confidence: float = 0.95) -> tuple[Interval, float]:
    """Share of decided requests that A won, with its exact interval [Clopper1934], and the two-sided p-value of a coin.

    `credits` [n] are one per independent unit: sum a viewer's requests first. A credit of 0 is undecided and left out;
    without a decided one the share is 0.5 in [0, 1] and the p-value 1.

    >>> interval, p_value = preference(np.array([1.0, 0.5, 1.0, -1.0, 0.0]))
    >>> interval.estimate, round(p_value, 3)
    (0.75, 0.625)
    """
    won, n = int(np.sum(credits > 0)), int(np.sum(credits != 0))
    if n == 0:
        return Interval(0.5, 0.0, 1.0), 1.0
    test = stats.binomtest(won, n)
    bounds = test.proportion_ci(confidence)
    return Interval(won / n, float(bounds.low), float(bounds.high)), float(test.pvalue)

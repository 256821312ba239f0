"""Which titles are to be predicted from which history: the evaluation protocols as code, always against the full catalogue.

A protocol names rows of the interactions as targets; the history of a target is its profile's rows before it. Equal
times keep the order of the interactions, which importers keep as in the raw file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recray.errors import DataError
from recray.features.interactions import Interactions
from recray.schema import Bools, Floats, Ints, Longs


@dataclass(slots=True, frozen=True)
class Targets:
    """What happened and is to be predicted, in row order: `row` [n] int64 into the interactions, and that row's columns."""

    profile: Ints
    row: Longs
    item: Ints
    at_s: Longs

    def __len__(self) -> int:
        return len(self.row)

    def take(self, positions: Longs) -> "Targets":
        """Select targets by position, in the order given."""
        return Targets(self.profile[positions], self.row[positions], self.item[positions], self.at_s[positions])


def _targets(interactions: Interactions, rows: Longs) -> Targets:
    rows = rows.astype(np.int64)
    return Targets(interactions.profile[rows], rows, interactions.item[rows], interactions.at_s[rows])


def leave_one_out(interactions: Interactions, back: int = 0) -> Targets:
    """Each profile's last interaction (`back` 1: the one before it, for validation); one per profile that has a history.

    Profiles with fewer than back + 2 interactions are left out. Train on rows that are `before` both the test and the
    validation targets, exclude the titles `seen`, rank the rated `catalogue`: that is leave-one-out on the raw file with
    stable ties [Tikhonovich2025].
    """
    bounds = interactions.bounds()
    return _targets(interactions, bounds[1:][np.diff(bounds) >= back + 2] - 1 - back)


def successive(
    interactions: Interactions,
    boundary_s: int,
    n_requests: int | None,
    rng: np.random.Generator,
    until_s: int | None = None,
    min_history: int = 1,
) -> Targets:
    """Every interaction after a moment, up to and including `until_s`, with the true prefix as history [Gusak2025].

    Train on interactions at or before `boundary_s`. Rows with fewer than `min_history` earlier rows of their profile are
    left out. When more than `n_requests` remain (None keeps all), each profile keeps at most c of its rows, evenly spread,
    c the smallest number that suffices, and a uniform draw takes exactly `n_requests` of them: few heavy viewers do not
    decide the figure, at the price that it is no longer the mean over all interactions.
    """
    place = np.arange(len(interactions)) - interactions.bounds()[interactions.profile]
    kept = (interactions.at_s > boundary_s) & (place >= min_history)
    if until_s is not None:
        kept &= interactions.at_s <= until_s
    rows = np.flatnonzero(kept)
    if n_requests is not None and rows.size > n_requests:
        rows = _spread(rows, interactions.profile[rows], n_requests)
        rows = np.sort(rng.choice(rows, n_requests, replace=False))
    return _targets(interactions, rows)


def _spread(rows: Longs, profile: Ints, n_requests: int) -> Longs:
    _, first, place, count = np.unique(profile, return_index=True, return_inverse=True, return_counts=True)
    low, high = 1, int(count.max())
    while low < high:
        middle = (low + high) // 2
        enough = np.minimum(count, middle).sum() >= n_requests
        low, high = (low, middle) if enough else (middle + 1, high)
    within, n = np.arange(rows.size) - first[place], count[place]
    # The i-th of n rows is kept where floor(i c / n) steps: c rows, evenly spread.
    return rows[(n <= low) | (within * low // n != (within - 1) * low // n)]


def rating_split(interactions: Interactions, rng: np.random.Generator, share: float = 0.1) -> Targets:
    """A uniform draw of rated rows whose ratings are to be predicted from all `others` (random 90/10 by default).

    Rows without a rating are never drawn. This is the protocol of published RMSE figures; it looks into the future.
    """
    rated = np.flatnonzero(~np.isnan(interactions.rating))
    return _targets(interactions, np.sort(rng.choice(rated, round(share * rated.size), replace=False)))


def before(interactions: Interactions, targets: Targets) -> Bools:
    """Rows [n_interactions] that precede the first target of their profile; all rows of profiles without a target."""
    first = np.full(interactions.n_profiles, len(interactions), np.int64)
    np.minimum.at(first, targets.profile, targets.row)
    return np.arange(len(interactions)) < first[interactions.profile]


def others(interactions: Interactions, targets: Targets) -> Bools:
    """Rows [n_interactions] that are no target."""
    kept = np.ones(len(interactions), np.bool_)
    kept[targets.row] = False
    return kept


def catalogue(interactions: Interactions) -> Bools:
    """Titles [n_items] with at least one interaction: the catalogue of the leave-one-out tracks."""
    return np.bincount(interactions.item, minlength=interactions.n_items) > 0


def seen(interactions: Interactions, targets: Targets) -> Bools:
    """Titles [n, n_items] in each target's whole history. A batch of targets at a time: it is dense."""
    mask = np.zeros((len(targets), interactions.n_items), np.bool_)
    start = interactions.bounds()[targets.profile]
    length = targets.row - start
    line = np.repeat(np.arange(len(targets)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    mask[line, interactions.item[start[line] + offset]] = True
    return mask


def rank_of(scores: Floats, target: Ints, excluded: Bools | None = None) -> Longs:
    """Rank from 1 [n] int64 of each target among all titles that are not excluded; `scores` [n, n_items].

    Ties go to the lower title number, as candidate sources break them. A title scored NaN or -inf is not ranked. A target
    that is excluded or not ranked gets n_items + 1, behind everything: the model could not have shown it.

    >>> scores = np.array([[0.9, 0.5, 0.5, 0.1]], np.float32)
    >>> rank_of(scores, np.array([2])).tolist(), rank_of(scores, np.array([2]), scores > 0.8).tolist()
    ([3], [2])

    Raises:
        DataError: the shapes do not fit.
    """
    if scores.ndim != 2 or target.shape != scores.shape[:1] or (excluded is not None and excluded.shape != scores.shape):
        raise DataError(
            f"scores {scores.shape}, targets {target.shape}, excluded {None if excluded is None else excluded.shape}; "
            "expected [n, n_items], [n] and [n, n_items]"
        )
    ranked = scores > -np.inf
    if excluded is not None:
        ranked &= ~excluded
    lines = np.arange(len(target))
    own = scores[lines, target][:, None]
    ahead = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < target[:, None]))
    return np.where(ranked[lines, target], 1 + np.count_nonzero(ahead & ranked, axis=1), scores.shape[1] + 1)


def summary(ranks: Longs, ks: Sequence[int]) -> dict[str, float]:
    """Means of hit rate, NDCG and MRR at each k from ranks of single targets, as `hr@10`, `ndcg@10`, `mrr@10`; NaN when empty.

    >>> {name: round(value, 4) for name, value in summary(np.array([1, 3, 40]), [10]).items()}
    {'hr@10': 0.6667, 'ndcg@10': 0.5, 'mrr@10': 0.4444}
    """
    found: dict[str, float] = {}
    for k in ks:
        inside = ranks <= k
        gains = {"hr": inside, "ndcg": inside / np.log2(ranks + 1), "mrr": inside / ranks}
        found |= {f"{name}@{k}": float(gain.mean()) if ranks.size else float("nan") for name, gain in gains.items()}
    return found

"""How well an order of candidates puts what was started on top: what fitting watches to know when to stop."""

from typing import Any

import numpy as np

from recray.errors import DataError
from recray.ranking.ranker import Examples
from recray.schema import Floats, Objective


def mean_ndcg(scores: Floats, gains: Floats, k: int = 10, weight: Floats | None = None) -> float:
    """Mean NDCG@k [Jarvelin2002] of scores [N, K] against gains [N, K] over the requests that have any gain.

    NaN gains (padding, unknown) are left out; ties keep the order of the columns; 0.0 when no request has a gain. With `weight`
    [N, K] of the gains, each request's discounted gain is the weighted one over the ideal without weights [Agarwal2019a], and
    the mean is over what that comes to at best.
    """
    known = np.isfinite(gains)
    gain = np.where(known, gains, 0.0)
    weighed = gain if weight is None else gain * weight
    order = np.argsort(np.where(known, -scores, np.inf), axis=1, kind="stable")[:, :k]
    got = (np.take_along_axis(weighed, order, axis=1) * _discount(order.shape[1])).sum(axis=1)
    best = ideal_dcg(gain, k)
    judged = best > 0
    worth = ideal_dcg(weighed, k)[judged] / best[judged]
    return float(np.sum(got[judged] / best[judged]) / np.sum(worth)) if judged.any() else 0.0


def ideal_dcg(gains: Floats, k: int) -> Floats:
    """Discounted gain [N] of the best order of gains [N, K], cut at k."""
    k = min(k, gains.shape[1])
    best: Floats = (-np.sort(-gains, axis=1)[:, :k] * _discount(k)).sum(axis=1)
    return best


def _discount(n: int) -> Any:
    return 1 / np.log2(np.arange(n) + 2)


def require_starts(examples: Examples, name: str) -> None:
    """Refuse examples that teach no order.

    Raises:
        DataError: no request of `examples` has a started candidate.
    """
    if not np.nansum(examples.labels[:, :, Objective.START]) > 0:
        raise DataError(
            f"none of {len(examples)} {name} requests has a started candidate; import more events or widen the window"
        )

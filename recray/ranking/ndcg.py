"""How well an order of candidates puts what was started on top: what fitting watches to know when to stop."""

import numpy as np

from recray.errors import DataError
from recray.ranking.ranker import Examples
from recray.schema import Floats, Objective


def mean_ndcg(scores: Floats, gains: Floats, k: int = 10) -> float:
    """Mean NDCG@k [Jarvelin2002] of scores [N, K] against gains [N, K] over the requests that have any gain.

    NaN gains (padding, unknown) are left out; ties keep the order of the columns; 0.0 when no request has a gain.
    """
    known = np.isfinite(gains)
    gain = np.where(known, gains, 0.0)
    order = np.argsort(np.where(known, -scores, np.inf), axis=1, kind="stable")[:, :k]
    discount = 1 / np.log2(np.arange(order.shape[1]) + 2)
    got = (np.take_along_axis(gain, order, axis=1) * discount).sum(axis=1)
    best = (-np.sort(-gain, axis=1)[:, : order.shape[1]] * discount).sum(axis=1)
    judged = best > 0
    return float(np.mean(got[judged] / best[judged])) if judged.any() else 0.0


def require_starts(examples: Examples, name: str) -> None:
    """Refuse examples that teach no order.

    Raises:
        DataError: no request of `examples` has a started candidate.
    """
    if not np.nansum(examples.labels[:, :, Objective.START]) > 0:
        raise DataError(
            f"none of {len(examples)} {name} requests has a started candidate; import more events or widen the window"
        )

"""Orders without a ranker, in the shape of a ranker's answer: what falls with a candidate's place instead of probabilities."""

import numpy as np

from recray.schema import Candidates, Floats, Longs, Objective


def by_union(candidates: Candidates) -> Floats:
    """Starts [B, K, n_objectives] in the order of the union."""
    return _starts(candidates, np.broadcast_to(np.arange(candidates.items.shape[1]), candidates.items.shape))


def by_source(candidates: Candidates, source: str) -> Floats:
    """Starts [B, K, n_objectives] in the order of one source, and after it in that of the union."""
    ranks = candidates.ranks[:, :, candidates.sources.index(source)].astype(np.int64)
    last = ranks.max(axis=1, initial=0, keepdims=True)
    return _starts(candidates, np.where(ranks > 0, ranks - 1, last + np.arange(ranks.shape[1])))


def _starts(candidates: Candidates, place: Longs) -> Floats:
    """Falling with the place [B, K]; nothing of what may follow a start, and nothing on padding."""
    p = np.zeros((*place.shape, len(Objective)), np.float32)
    p[:, :, Objective.START] = np.where(candidates.items >= 0, 1 / (2 + place), 0)
    return p

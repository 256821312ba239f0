"""Titles that other titles predict: a linear autoencoder without its diagonal, solved in closed form [Steck2019]."""

from typing import Final

import numpy as np
from scipy import linalg

from recray.candidates.history import Sparse, watched
from recray.candidates.similar import SimilarTitles
from recray.errors import DataError
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats
from recray.settings import SourceSettings

_BLOCK: Final = 1_024


class Ease(SimilarTitles):
    """What these titles predict once every other title is taken into account.

    Departs from the paper in what is served: the strongest positive weights of each title, summed over the newest titles of
    a history, older ones counting less. On ml-1m that more than doubles NDCG@10 of the next title (docs/experiments.md).
    """

    name = "ease"


def fit(interactions: Interactions, items: Items, config: SourceSettings) -> Ease:
    """Weights that predict each title from all others by ridge regression over viewers, the diagonal held at zero.

    Solved for the `ease_titles` most watched titles (ties by lower number): the inverse is dense, 4 bytes times their number
    squared. The others, and titles nobody watched, have no weights.

    Raises:
        DataError: the inverse does not exist in single precision.
    """
    seen = watched(interactions, items.n)
    watches = np.bincount(seen.indices, minlength=items.n)
    most = np.argsort(-watches, kind="stable")[: config.ease_titles]
    solved = np.sort(most[watches[most] > 0])
    inverse = _inverse(seen[:, solved], config.ease_regularization)
    # The weight of title i for title j is -P_ij / P_jj.
    scale = -1 / np.diagonal(inverse)

    def similarity(block: slice) -> Floats:
        return np.asarray(inverse[block] * scale, np.float32)

    return Ease.of(similarity, solved.astype(np.int64), config)


def _inverse(seen: Sparse, regularization: float) -> Floats:
    """Inverse of the titles' co-occurrence counts with the ridge on their diagonal [n, n] float32, symmetric."""
    by_title = seen.T.tocsr()
    n = by_title.shape[0]
    if not n:
        return np.empty((0, 0), np.float32)
    normal = np.empty((n, n), np.float32, order="F")
    for start in range(0, n, _BLOCK):
        normal[:, start : start + _BLOCK] = (by_title[start : start + _BLOCK] @ seen).toarray().T
    normal[np.diag_indices(n)] += np.float32(regularization)
    factor, failed = linalg.lapack.spotrf(normal, lower=1, overwrite_a=1)
    if not failed:
        factor, failed = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(
            f"co-occurrence of {n} titles with sources.ease_regularization {regularization:g} on the diagonal is singular in "
            "single precision; raise it"
        )
    for start in range(0, n, _BLOCK):  # the upper half, a block at a time: a transposed copy would double the memory
        block = slice(start, start + _BLOCK)
        factor[:start, block] = factor[block, :start].T
        square = factor[block, block]
        factor[block, block] = np.tril(square) + np.tril(square, -1).T
    return factor

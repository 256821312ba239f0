"""Titles watched shortly before or after one another by the same profile."""

from typing import Final

import numpy as np
from scipy import sparse

from recray.candidates.history import Sparse, first_of_each
from recray.candidates.similar import SimilarTitles, seen_titles
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats
from recray.settings import SourceSettings

_BACKWARD: Final = 0.5
"""Worth of "watched before" against "watched after": the answer is what comes next."""
_EXPONENT: Final = 0.5
_SHRINKAGE: Final = 20.0
_CHUNK: Final = 4_000_000


class CoWatch(SimilarTitles):
    """What other profiles watched around the titles of this history."""

    name = "cowatch"


def fit(interactions: Interactions, items: Items, config: SourceSettings) -> CoWatch:
    """Weigh each pair of titles by how often and how closely they follow each other.

    A pair `distance` positions apart counts 1 / distance ahead and half of that backward. The sum is divided by the root of
    both titles' totals, each shrunk, so that neither the popular nor the rare crowd out the rest.
    """
    titles = seen_titles(interactions)
    pairs = _pairs(interactions, items.n, config.cowatch_window)[titles][:, titles]
    scale = 1 / (pairs.sum(axis=0) + _SHRINKAGE) ** _EXPONENT

    def similarity(block: slice) -> Floats:
        return (pairs[block].toarray() * scale[None, :] * scale[block, None]).astype(np.float32)

    return CoWatch.of(similarity, titles, config)


def _pairs(interactions: Interactions, n_items: int, window: int) -> Sparse:
    """Discounted pair counts [n_items, n_items]; row: the title at hand, column: the title proposed."""
    kept = interactions.where(first_of_each(interactions))
    nowhere = np.empty(0, np.int32)
    ahead: Sparse = sparse.coo_array((np.empty(0, np.float32), (nowhere, nowhere)), shape=(n_items, n_items)).tocsr()
    for distance in range(1, window + 1):
        together = np.flatnonzero(kept.profile[distance:] == kept.profile[:-distance])
        for start in range(0, together.size, _CHUNK):
            at = together[start : start + _CHUNK]
            value = np.full(at.size, 1 / distance, np.float32)
            cells = (value, (kept.item[at], kept.item[at + distance]))
            ahead = sparse.csr_array(ahead + sparse.coo_array(cells, shape=(n_items, n_items)).tocsr())
    return sparse.csr_array(ahead + _BACKWARD * ahead.T)

"""Titles that share viewers, whole histories compared: item-based collaborative filtering [Sarwar2001]."""

from typing import Final

import numpy as np
from scipy import sparse

from recray.candidates.history import watched
from recray.candidates.similar import SimilarTitles, seen_titles
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats
from recray.settings import SourceSettings

SHRINKAGE: Final = 0.01
"""What the one viewer of a hundred titles counts: a pair that only such a viewer joins has half the likeness it would have."""


class ItemBased(SimilarTitles):
    """What the viewers of these titles watched as well."""

    name = "item_based"


def fit(interactions: Interactions, items: Items, config: SourceSettings) -> ItemBased:
    """Cosine between titles' viewers, each viewer counting less the more they watched, shrunk for few viewers.

    A viewer of n titles counts 1 / n, so that every viewer says as much in all: someone who watched everything says little
    about any pair.
    """
    titles = seen_titles(interactions)
    seen = watched(interactions, items.n)[:, titles]
    trust = np.sqrt(1 / np.maximum(np.diff(seen.indptr), 1))
    seen = sparse.csr_array(sparse.diags_array(trust.astype(np.float32)) @ seen)
    by_title = seen.T.tocsr()
    norm = np.sqrt(by_title.multiply(by_title).sum(axis=1))

    def similarity(block: slice) -> Floats:
        shared = (by_title[block] @ seen).toarray()
        return (shared / (norm[block, None] * norm[None, :] + SHRINKAGE)).astype(np.float32)

    return ItemBased.of(similarity, titles, config)

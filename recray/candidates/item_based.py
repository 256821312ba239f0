"""Titles that share viewers, whole histories compared: item-based collaborative filtering [Sarwar2001]."""

from typing import Final

import numpy as np
from scipy import sparse

from recray.candidates.history import watched
from recray.candidates.similar import SimilarTitles
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats
from recray.settings import SourceSettings

SHRINKAGE: Final = 20.0


class ItemBased(SimilarTitles):
    """What the viewers of these titles watched as well."""

    name = "item_based"


def fit(interactions: Interactions, items: Items, config: SourceSettings) -> ItemBased:
    """Cosine between titles' viewers, each viewer counting less the more they watched, shrunk for few viewers.

    A viewer of n titles counts 1 / log2(2 + n): someone who watched everything says little about any pair [Breese1998].
    """
    seen = watched(interactions, items.n)
    trust = np.sqrt(1 / np.log2(2 + np.diff(seen.indptr)))
    seen = sparse.csr_array(sparse.diags_array(trust.astype(np.float32)) @ seen)
    by_title = seen.T.tocsr()
    norm = np.sqrt(by_title.multiply(by_title).sum(axis=1))

    def similarity(block: slice) -> Floats:
        shared = (by_title[block] @ seen).toarray()
        return (shared / (norm[block, None] * norm[None, :] + SHRINKAGE)).astype(np.float32)

    return ItemBased.of(similarity, items, config)

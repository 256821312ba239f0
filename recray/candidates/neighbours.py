"""What similar viewers watched: user-based collaborative filtering over anonymous reference histories [Resnick1994]."""

from typing import Any, ClassVar, Final, Self

import numpy as np
from scipy import sparse

from recray.candidates import kernels
from recray.candidates.history import Sparse, newest, recency, watched
from recray.candidates.source import Ask, filled, room
from recray.features.compiled import held
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Retrieved, Tensors
from recray.settings import SourceSettings

_MIN_TITLES: Final = 5


class Neighbours:
    """Votes of the reference histories most similar to the request's.

    Holds histories only, without any identity; who they belong to is not kept.
    """

    name: ClassVar[str] = "neighbours"

    def __init__(self, references: Sparse, n_similar: int, history: int, half_life: float) -> None:
        """Take `references` [n_reference_profiles, n_items] CSR of weights with rows of unit length."""
        self._references = references
        by_title = sparse.csr_array(references.T)
        self._postings = (
            by_title.indptr.astype(np.int64), by_title.indices.astype(np.int32), by_title.data.astype(np.float32)
        )  # fmt: skip
        self._titles = references.indptr.astype(np.int64), references.indices.astype(np.int32)
        self._n_similar = n_similar
        self._history = history
        self._half_life = half_life

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles by similarity-weighted votes; nothing where no reference shares a title."""
        n_references, n_titles = self._references.shape
        history = newest(ask, self._history, n_titles)
        items, scores = room(len(history), min(k, ask.eligible.shape[1]))
        asked = history, recency(history, self._half_life)
        n_similar, eligible = min(self._n_similar, n_references), held(ask.eligible, np.bool_)
        kernels.votes(asked, self._postings, self._titles, n_similar, eligible, (items, scores))
        return filled(items, scores)

    def tensors(self) -> Tensors:
        held = self._references
        return {"titles": held.indices.astype(np.int32), "weights": held.data, "offsets": held.indptr.astype(np.int64)}

    def config(self) -> dict[str, Any]:
        return {
            "n_items": self._references.shape[1],
            "n_similar": self._n_similar,
            "history": self._history,
            "half_life": self._half_life,
        }

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        shape = (len(tensors["offsets"]) - 1, int(config["n_items"]))
        held = sparse.csr_array((tensors["weights"], tensors["titles"], tensors["offsets"]), shape=shape)
        return cls(held, int(config["n_similar"]), int(config["history"]), float(config["half_life"]))


def fit(interactions: Interactions, items: Items, config: SourceSettings, *, seed: int) -> Neighbours:
    """Draw reference profiles among those with at least five titles, a rare title weighing more than a common one.

    Weights are inverse document frequencies, histories are scaled to unit length. Drawing is uniform and without replacement.
    """
    seen = watched(interactions, items.n)
    able = np.flatnonzero(np.diff(seen.indptr) >= _MIN_TITLES)
    drawn = np.random.default_rng(seed).permutation(able)[: config.n_reference_profiles]
    held = sparse.csr_array(seen[np.sort(drawn)])
    rarity = np.log((1 + held.shape[0]) / (1 + np.bincount(held.indices, minlength=items.n))).astype(np.float32)
    held.data = rarity[held.indices]
    length = np.sqrt(np.bincount(np.repeat(np.arange(held.shape[0]), np.diff(held.indptr)), held.data**2, held.shape[0]))
    held.data = (held.data / np.repeat(np.maximum(length, 1e-9), np.diff(held.indptr))).astype(np.float32)
    return Neighbours(held, config.n_similar_profiles, config.similar_history, config.similar_history_half_life)

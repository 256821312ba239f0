"""Matrix factorization of who watched what: implicit ALS [Hu2008], a viewer's vector folded in from the history alone."""

from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from recray.candidates.clusters import ClusteredTable, table_of
from recray.candidates.dense import DenseTable
from recray.candidates.history import newest, recency, watched
from recray.candidates.source import Ask, nothing
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Bools, Floats, Ints, Retrieved, Tensors
from recray.settings import SourceSettings


class FoldIn:
    """Solves for a viewer's vector as ALS does for the viewers it was fitted on; no parameter per viewer."""

    def __init__(self, vectors: Floats, regularization: float, alpha: float) -> None:
        """Take title `vectors` [n_items, dim] float32, and the `regularization` and `alpha` they were fitted with."""
        self.vectors = vectors
        self._alpha = np.float32(alpha)
        dim = vectors.shape[1]
        self._everything = (vectors.T @ vectors + regularization * np.eye(dim, dtype=np.float32)).astype(np.float32)

    def __call__(self, history: Ints, weights: Floats) -> Floats:
        """Least squares vectors [B, dim] float32 of histories [B, H] with weights [B, H]; zeros for an empty one."""
        seen = self.vectors[np.maximum(history, 0)]
        confidence = (self._alpha * weights)[..., None]
        normal = self._everything + np.matmul(seen.transpose(0, 2, 1), seen * confidence)
        wanted = (seen * np.where(history[..., None] >= 0, 1 + confidence, 0)).sum(axis=1)
        return np.linalg.solve(normal, wanted[..., None])[..., 0].astype(np.float32)


class Factors:
    """Titles whose vectors fit the vector of the history."""

    name: ClassVar[str] = "factors"

    def __init__(self, vectors: Floats, known: Bools, config: dict[str, Any]) -> None:
        """Take title `vectors` [n_items, dim]; `known` [n_items] bool tells the titles that anyone watched."""
        self._vectors = vectors
        self._known = known
        self._config = config
        self._fold_in = FoldIn(vectors, config["regularization"], config["alpha"])

    @cached_property
    def _table(self) -> DenseTable | ClusteredTable:
        """Built when first asked, which the process of a fit never is."""
        return table_of(self._vectors, np.where(self._known, 0, -np.inf).astype(np.float32))

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles that anyone watched; nothing for an empty history."""
        history = newest(ask, self._config["history"], len(self._vectors))
        some = np.asarray((history >= 0).any(axis=1))
        if not some.any():
            return nothing(len(history))
        vectors = self._fold_in(history, recency(history, self._config["half_life"]))
        return self._table.best(vectors, some, ask.eligible, k)

    def tensors(self) -> Tensors:
        return {"vectors": self._vectors, "known": self._known}

    def config(self) -> dict[str, Any]:
        return self._config

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["vectors"], tensors["known"].astype(np.bool_), config)


def title_vectors(interactions: Interactions, items: Items, config: SourceSettings, *, seed: int) -> Floats:
    """Vectors of titles [n_items, factors] float32 by implicit ALS; zeros for a title nobody watched."""
    from implicit.cpu.als import AlternatingLeastSquares  # serving needs none of it

    # Its own threads split the titles; BLAS threads beneath them would fight for the same cores.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.als_regularization,
            alpha=config.als_alpha,
            iterations=config.als_iterations,
            random_state=seed,
            num_threads=0,
            dtype=np.float32,
        )
        model.fit(sparse.csr_matrix(watched(interactions, items.n, interactions.weight)), show_progress=False)
    vectors = np.ascontiguousarray(model.item_factors, np.float32)
    vectors[np.bincount(interactions.item, minlength=items.n) == 0] = 0
    return vectors


def fit(interactions: Interactions, items: Items, config: SourceSettings, *, seed: int) -> Factors:
    """Fit title vectors; what is kept of the viewers is nothing."""
    served = {
        "regularization": config.als_regularization,
        "alpha": config.als_alpha,
        "history": config.factors_history,
        "half_life": config.factors_history_half_life,
    }
    known = np.bincount(interactions.item, minlength=items.n) > 0
    return Factors(title_vectors(interactions, items, config, seed=seed), known, served)

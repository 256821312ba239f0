"""Titles whose content resembles what was watched, judged by what content means to viewers; new titles included."""

from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np

from recray.candidates.clusters import ClusteredTable, table_of
from recray.candidates.dense import DenseTable
from recray.candidates.factors import title_vectors
from recray.candidates.history import evidence, recency
from recray.candidates.source import Ask, nothing
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.features.user import picked_genres
from recray.schema import NO_ITEM, Floats, Ints, Page, Retrieved, Tensors
from recray.settings import SourceSettings

_RIDGE: Final = 1.0
_PRIOR: Final = 10.0
"""Watches that the mean appeal stands for: a title's first few do not count against it."""


class Content:
    """Cosine between the taste of a history and each title, plus a little for titles that many watch.

    Title vectors are content vectors mapped into the space of co-watching. A candidate's seed is the title of the history
    nearest to it. On post-watch the title just watched stands alone. Genres that the viewer picked count as if a title between
    those that many watch of them had been watched before everything else.
    """

    name: ClassVar[str] = "content"

    def __init__(self, vectors: Floats, appeal: Floats, items: Items, history: int, half_life: float) -> None:
        """Take unit `vectors` [n_items, dim] float32 and `appeal` [n_items] float32, which is added to each cosine."""
        self._vectors = vectors
        self._appeal = appeal
        self._items = items
        self._genres = _unit(np.where(items.genres, items.log_popularity[:, None], np.float32(0)).T @ vectors)
        self._history = history
        self._half_life = half_life

    @cached_property
    def _table(self) -> DenseTable | ClusteredTable:
        """Built when first asked, which the process of a fit never is."""
        return table_of(self._vectors, self._appeal)

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles; nothing without a history and picked genres.

        A title without content is judged by appeal alone.
        """
        history = evidence(ask, self._history, len(self._vectors))
        picked = picked_genres(ask.profiles, self._items)
        picked[ask.requests.page == Page.POST_WATCH] = 0
        some = np.asarray((history >= 0).any(axis=1) | picked.any(axis=1))
        if not some.any():
            return nothing(len(history))
        watched = self._vectors[np.maximum(history, 0)]
        taste = np.matmul(recency(history, self._half_life)[:, None], watched)[:, 0]
        if picked.any():
            n_watched = (history >= 0).sum(axis=1, keepdims=True)
            taste += np.exp2(-n_watched / self._half_life).astype(np.float32) * np.matmul(picked[:, None], self._genres)[:, 0]
        found = self._table.best(_unit(taste), some, ask.eligible, k)
        found.seeds = self._nearest(found.items, history, watched)
        return found

    def _nearest(self, items: Ints, history: Ints, watched: Floats) -> Ints:
        likeness = np.matmul(self._vectors[np.maximum(items, 0)], watched.transpose(0, 2, 1))
        likeness = np.where(history[:, None] >= 0, likeness, np.float32(-np.inf))
        return np.where(items >= 0, np.take_along_axis(history, likeness.argmax(axis=2), axis=1), NO_ITEM).astype(np.int32)

    def tensors(self) -> Tensors:
        return {"vectors": self._vectors, "appeal": self._appeal}

    def config(self) -> dict[str, Any]:
        return {"history": self._history, "half_life": self._half_life}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["vectors"], tensors["appeal"], items, int(config["history"]), float(config["half_life"]))


def fit(interactions: Interactions, items: Items, config: SourceSettings, *, seed: int) -> Content:
    """Map content to the directions of co-watching by ridge regression, titles that many watched counting more.

    The targets are unit title vectors of implicit ALS. The appeal of a title with few watches is drawn towards the mean of
    those watched, which a title that nobody watched has: it had no chance to earn its own.
    """
    watches = np.bincount(interactions.item, minlength=items.n)
    wanted = _unit(title_vectors(interactions, items, config, seed=seed))
    known = np.column_stack((items.content, np.ones(items.n))).astype(np.float64)
    weighted = known * np.sqrt(watches)[:, None]
    normal = weighted.T @ known + _RIDGE * np.eye(known.shape[1])
    mapped = known @ np.linalg.solve(normal, weighted.T @ wanted)
    own = np.log1p(watches)
    common = own[watches > 0].mean() if watches.any() else 0.0
    appeal = config.content_appeal * (watches * own + _PRIOR * common) / (watches + _PRIOR)
    appeal = appeal.astype(np.float32)
    return Content(_unit(mapped.astype(np.float32)), appeal, items, config.history, config.content_half_life)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))

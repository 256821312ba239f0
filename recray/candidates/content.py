"""Titles whose content resembles what was watched, judged by what content means to viewers; new titles included."""

from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np

from recray.candidates.clusters import ClusteredTable, table_of
from recray.candidates.dense import DenseTable
from recray.candidates.factors import title_vectors
from recray.candidates.history import evidence, recency
from recray.candidates.source import Ask, filled, nothing, room
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.features.user import picked_genres
from recray.schema import NO_ITEM, Bools, Floats, Ints, Longs, Page, Retrieved, Tensors
from recray.settings import SourceSettings

_RIDGE: Final = 1.0
_PRIOR: Final = 10.0
"""Watches that the mean appeal stands for: a title's first few do not count against it."""
_ASKED: Final = np.ones(1, np.bool_)


class Content:
    """Cosine between the taste of a history and each title, plus a little for titles that many watch.

    Title vectors are content vectors mapped into the space of co-watching. A candidate's seed is the title of the history
    nearest to it. On post-watch the title just watched stands alone.

    Genres that the viewer picked get places of their own, each for its titles nearest to those that many watch of it: all
    places without a history, half of them after `half_life` titles.
    """

    name: ClassVar[str] = "content"

    def __init__(self, vectors: Floats, appeal: Floats, items: Items, history: int, half_life: float) -> None:
        """Take unit `vectors` [n_items, dim] float32 and `appeal` [n_items] float32, which is added to each cosine.

        `items` are those titles, of which the genres are read and who watched how many of each.
        """
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
        """The best k eligible titles; nothing without a history or picked genres.

        A title without content is judged by appeal alone.
        """
        history = evidence(ask, self._history, len(self._vectors))
        picked = picked_genres(ask.profiles, self._items) > 0
        picked[ask.requests.page == Page.POST_WATCH] = False
        found = self._like_watched(history, ask.eligible, k)
        return self._with_picked(found, picked, (history >= 0).sum(axis=1), ask, k) if picked.any() else found

    def _like_watched(self, history: Ints, eligible: Bools, k: int) -> Retrieved:
        some = np.asarray((history >= 0).any(axis=1))
        if not some.any():
            return nothing(len(history))
        watched = self._vectors[np.maximum(history, 0)]
        taste = np.matmul(recency(history, self._half_life)[:, None], watched)[:, 0]
        found = self._table.best(_unit(taste), some, eligible, k)
        found.seeds = self._nearest(found.items, history, watched)
        return found

    def _with_picked(self, found: Retrieved, picked: Bools, n_watched: Longs, ask: Ask, k: int) -> Retrieved:
        """Proposals with those of picked genres [B, n_genres] among them, a title once, by its best score."""
        items, scores = room(len(picked), min(k, ask.eligible.shape[1]))
        seeds = items.copy()
        for row, genres in enumerate(map(np.flatnonzero, picked)):
            n_each = int(k * np.exp2(-n_watched[row] / self._half_life) / max(genres.size, 1))
            n_own = k - n_each * genres.size
            parts = [(found.items[row, :n_own], found.scores[row, :n_own], found.seeds[row, :n_own])]
            for genre in genres:
                eligible = ask.eligible[row : row + 1, : self._items.n]
                eligible = eligible & self._items.of_genre[genre][: eligible.shape[1]]
                of_genre = self._table.best(self._genres[[genre]], _ASKED, eligible, n_each)
                parts.append((of_genre.items[0], of_genre.scores[0], of_genre.seeds[0]))
            one, worth, seed = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            best_first = np.lexsort((one, -worth))[: np.count_nonzero(one >= 0)]
            _, first = np.unique(one[best_first], return_index=True)
            kept = best_first[np.sort(first)]
            items[row, : kept.size], scores[row, : kept.size], seeds[row, : kept.size] = one[kept], worth[kept], seed[kept]
        return filled(items, scores, seeds)

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

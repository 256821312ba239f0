"""Titles that go with titles a viewer watched: the served half of several sources, which differ in how they fit."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from recray.candidates import kernels
from recray.candidates.history import evidence, recency
from recray.candidates.source import Ask, best, filled, nothing, room
from recray.features.compiled import held
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import NO_ITEM, Floats, Ints, Longs, Retrieved, Tensors
from recray.settings import SourceSettings

_BLOCK_CELLS = 4_000_000


class SimilarTitles:
    """Sums the neighbours of the newest titles of a history, older titles counting less.

    The seed of a candidate is the title that contributes most to it, the newest where several do. On post-watch the
    title just watched stands alone.
    """

    name: ClassVar[str]

    def __init__(self, titles: Ints, neighbours: Ints, weights: Floats, history: int, half_life: float) -> None:
        """Take the `neighbours` [n, m] int32 of each of `titles` [n] int32, ascending, and their `weights` [n, m] float32.

        Neighbours are title numbers, padded with NO_ITEM, whose weight is 0. Other titles of the catalogue have none.
        """
        self._titles = held(titles, np.int32)
        self._neighbours = held(neighbours, np.int32)
        self._weights = held(weights, np.float32)
        self._history = history
        self._half_life = half_life
        self._row_of = np.full(int(titles.max(initial=-1)) + 1, -1, np.int32)
        self._row_of[titles] = np.arange(len(titles))

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible neighbours of what was watched; nothing for an empty history."""
        history = evidence(ask, self._history, len(self._row_of))
        rows = np.where(history >= 0, self._row_of[history], np.int32(-1)) if self._row_of.size else history
        if not (rows >= 0).any():
            return nothing(len(history))
        items, scores = room(len(history), min(k, ask.eligible.shape[1]))
        seeds = np.full(items.shape, NO_ITEM, np.int32)
        asked = held(history, np.int32), held(rows, np.int32), recency(history, self._half_life)
        eligible = held(ask.eligible, np.bool_)
        kernels.beside(asked, self._neighbours, self._weights, eligible, (items, scores, seeds))
        return filled(items, scores, seeds)

    def tensors(self) -> Tensors:
        return {"titles": self._titles, "neighbours": self._neighbours, "weights": self._weights}

    def config(self) -> dict[str, Any]:
        return {"history": self._history, "half_life": self._half_life}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        about = int(config["history"]), float(config["half_life"])
        return cls(tensors["titles"], tensors["neighbours"], tensors["weights"], *about)

    @classmethod
    def of(cls, similarity: Callable[[slice], Floats], titles: Longs, config: SourceSettings) -> Self:
        """Keep the `n_neighbours` nearest of each of `titles` [n] int64, ascending, among those titles; the others have none.

        `similarity` gives rows [block, n], 0 where unrelated: neither cost nor memory depend on titles that nobody watched.
        """
        neighbours = np.full((titles.size, min(config.n_neighbours, titles.size)), NO_ITEM, np.int32)
        weights = np.zeros(neighbours.shape, np.float32)
        height = max(_BLOCK_CELLS // max(titles.size, 1), 1)
        for start in range(0, titles.size, height):
            block = slice(start, min(start + height, titles.size))
            rows = similarity(block)
            rows[np.arange(len(rows)), np.arange(block.start, block.stop)] = 0  # a title is not its own neighbour
            found = best(rows, rows > 0, neighbours.shape[1])
            width = found.items.shape[1]
            neighbours[block, :width] = np.where(found.items >= 0, titles[found.items], NO_ITEM)
            weights[block, :width] = np.where(found.items >= 0, found.scores, 0)
        return cls(titles.astype(np.int32), neighbours, weights, config.history, config.history_half_life)


def seen_titles(interactions: Interactions) -> Longs:
    """Numbers [n] int64, ascending, of the titles that anyone watched."""
    return np.unique(interactions.item).astype(np.int64)

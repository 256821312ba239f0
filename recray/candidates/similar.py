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

    def __init__(self, neighbours: Ints, weights: Floats, history: int, half_life: float) -> None:
        """Take `neighbours` [n_items, m] int32 padded with NO_ITEM and their `weights` [n_items, m] float32, 0 where padded."""
        self._neighbours = held(neighbours, np.int32)
        self._weights = held(weights, np.float32)
        self._history = history
        self._half_life = half_life

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible neighbours of what was watched; nothing for an empty history."""
        history = evidence(ask, self._history, len(self._neighbours))
        if not (history >= 0).any():
            return nothing(len(history))
        items, scores = room(len(history), min(k, ask.eligible.shape[1]))
        seeds = np.full(items.shape, NO_ITEM, np.int32)
        weight = recency(history, self._half_life)
        eligible = held(ask.eligible, np.bool_)
        kernels.beside(history, weight, self._neighbours, self._weights, eligible, (items, scores, seeds))
        return filled(items, scores, seeds)

    def tensors(self) -> Tensors:
        return {"neighbours": self._neighbours, "weights": self._weights}

    def config(self) -> dict[str, Any]:
        return {"history": self._history, "half_life": self._half_life}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["neighbours"], tensors["weights"], int(config["history"]), float(config["half_life"]))

    @classmethod
    def of(cls, similarity: Callable[[slice], Floats], titles: Longs, items: Items, config: SourceSettings) -> Self:
        """Keep the `n_neighbours` nearest of each of `titles` [n] int64, ascending, among those titles; the others have none.

        `similarity` gives rows [block, n], 0 where unrelated: the cost does not depend on titles that nobody watched.
        """
        neighbours = np.full((items.n, min(config.n_neighbours, items.n)), NO_ITEM, np.int32)
        weights = np.zeros(neighbours.shape, np.float32)
        height = max(_BLOCK_CELLS // max(titles.size, 1), 1)
        for start in range(0, titles.size, height):
            block = slice(start, min(start + height, titles.size))
            rows = similarity(block)
            rows[np.arange(len(rows)), np.arange(block.start, block.stop)] = 0  # a title is not its own neighbour
            found = best(rows, rows > 0, neighbours.shape[1])
            width = found.items.shape[1]
            neighbours[titles[block], :width] = np.where(found.items >= 0, titles[found.items], NO_ITEM)
            weights[titles[block], :width] = np.where(found.items >= 0, found.scores, 0)
        return cls(neighbours, weights, config.history, config.history_half_life)


def seen_titles(interactions: Interactions) -> Longs:
    """Numbers [n] int64, ascending, of the titles that anyone watched."""
    return np.unique(interactions.item).astype(np.int64)

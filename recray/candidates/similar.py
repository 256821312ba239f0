"""Titles that go with titles a viewer watched: the served half of `cowatch` and `item_based`, which differ in how they fit."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from recray.candidates.history import evidence, recency
from recray.candidates.source import Ask, best, nothing
from recray.features.items import Items
from recray.schema import NO_ITEM, Floats, Ints, Retrieved, Tensors
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
        self._neighbours = neighbours
        self._weights = weights
        self._history = history
        self._half_life = half_life

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible neighbours of what was watched; nothing for an empty history."""
        history = evidence(ask, self._history, len(self._neighbours))
        row, position = np.nonzero(history >= 0)
        if not row.size:
            return nothing(len(history))
        title = history[row, position]
        weight = recency(history, self._half_life)[row, position]
        beside = self._neighbours[title]
        given = self._weights[title] * weight[:, None]
        n_requests, n_items = ask.eligible.shape
        inside = (beside >= 0) & (beside < n_items)
        cell = (row[:, None] * n_items + beside)[inside]
        given = given[inside]
        total = np.bincount(cell, given, n_requests * n_items).astype(np.float32)
        strongest = np.zeros(n_requests * n_items, np.float32)
        np.maximum.at(strongest, cell, given)
        seeds = np.full(n_requests * n_items, NO_ITEM, np.int32)
        leads = np.flatnonzero(given == strongest[cell])[::-1]
        seeds[cell[leads]] = np.broadcast_to(title[:, None], beside.shape)[inside][leads]
        scores = np.where(total > 0, total, np.float32(-np.inf))
        shape = (n_requests, n_items)
        return best(scores.reshape(shape), ask.eligible, k, seeds.reshape(shape))

    def tensors(self) -> Tensors:
        return {"neighbours": self._neighbours, "weights": self._weights}

    def config(self) -> dict[str, Any]:
        return {"history": self._history, "half_life": self._half_life}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["neighbours"], tensors["weights"], int(config["history"]), float(config["half_life"]))

    @classmethod
    def of(cls, similarity: Callable[[slice], Floats], items: Items, config: SourceSettings) -> Self:
        """Keep the `n_neighbours` nearest of each title; `similarity` gives rows [block, n_items], 0 where unrelated."""
        width = min(config.n_neighbours, items.n)
        neighbours = np.full((items.n, width), NO_ITEM, np.int32)
        weights = np.zeros((items.n, width), np.float32)
        height = max(_BLOCK_CELLS // items.n, 1)
        for start in range(0, items.n, height):
            block = slice(start, min(start + height, items.n))
            rows = similarity(block)
            rows[np.arange(len(rows)), np.arange(block.start, block.stop)] = 0  # a title is not its own neighbour
            found = best(rows, rows > 0, width)
            neighbours[block] = found.items
            weights[block] = np.where(found.items >= 0, found.scores, 0)
        return cls(neighbours, weights, config.history, config.history_half_life)

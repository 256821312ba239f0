"""Exact search over title vectors: inner products with every title, of which only the best eligible ones are kept."""

from typing import Final

import numpy as np

from recray.candidates import kernels
from recray.candidates.source import filled, nothing, room
from recray.features.compiled import held
from recray.schema import Bools, Floats, Retrieved

TILE: Final = 256
"""Titles in a tile: with 64 dimensions one is 64 KB, which stays in the second-level cache while every request reads it."""
_LANES: Final = 4


class DenseTable:
    """Vectors of n titles, laid out in tiles [n_tiles, dim, TILE] so that a request's products stream through memory once.

    Nothing of size [B, n] is ever written, and a request's scores do not depend on what else is in its batch.
    """

    def __init__(self, vectors: Floats, offset: Floats | None = None) -> None:
        """Take `vectors` [n, dim] and what is added to each title's score, `offset` [n]; -inf keeps a title out for good."""
        n, dim = vectors.shape
        self.n = n
        self._dim = dim
        n_tiles, width = -(-n // TILE), -(-dim // _LANES) * _LANES
        padded = np.zeros((n_tiles * TILE, width), np.float32)
        padded[:n, :dim] = vectors
        self._tiles = held(padded.reshape(n_tiles, TILE, width).transpose(0, 2, 1), np.float32)
        self._offset = np.full(n_tiles * TILE, -np.inf, np.float32)
        self._offset[:n] = 0 if offset is None else offset

    def best(self, vectors: Floats, asked: Bools, eligible: Bools, k: int) -> Retrieved:
        """The k best eligible titles for each of `vectors` [B, dim] that is `asked` [B]; ties by lower title number."""
        if not min(k, self.n, eligible.shape[1]):
            return nothing(len(vectors))
        padded = np.zeros((len(vectors), self._tiles.shape[1]), np.float32)
        padded[:, : self._dim] = vectors
        items, scores = room(len(vectors), min(k, self.n, eligible.shape[1]))
        kernels.top_of_tiles((padded, asked), (self._tiles, self._offset), held(eligible, np.bool_), (items, scores))
        return filled(items, scores)

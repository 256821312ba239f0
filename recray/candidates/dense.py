"""Exact search over title vectors: inner products with every title, of which only the best eligible ones are kept."""

from typing import Any, Final, TypeAlias

import numpy as np

from recray.candidates.selection import TILE, best_keys, key, promising, rank_tile, unpack
from recray.candidates.selection import room as room_for_ranks
from recray.candidates.source import filled, nothing, room
from recray.features.compiled import compiled, halves, held, wide
from recray.schema import Bools, Floats, Ints, Longs, Retrieved

_LANES: Final = 4
"""Dimensions whose products are summed in one pass over a tile."""
_CHUNK: Final = 128
"""Tiles whose scores are held at a time: a catalogue of 16,384 titles is one chunk, a larger one needs no more memory."""
_TOGETHER: Final = 4
"""Requests whose products are summed in one pass over a tile."""

Tables: TypeAlias = tuple[Any, Floats]
"""Halves of title vectors [n_tiles, dim, TILE], dim a multiple of four; what is added to each product [n_tiles, TILE]."""


@compiled
def _allowed(eligible: Bools, rows: Longs, n: int) -> Any:
    """Of the requests `rows`, which titles may be taken [n_rows, n_tiles, TILE]; none beyond the first n."""
    allowed = np.zeros((len(rows), -(-n // TILE) * TILE), np.bool_)
    for place in range(len(rows)):
        allowed[place, :n] = eligible[rows[place], :n]
    return allowed.reshape((len(rows), -1, TILE))


def packed(vectors: Floats, offset: Floats) -> Tables:
    """Vectors [n, dim] and their offsets [n] in tiles; what fills the last tile up has an offset of -inf."""
    n, dim = vectors.shape
    n_tiles, width = -(-n // TILE), -(-dim // _LANES) * _LANES
    padded = np.zeros((n_tiles * TILE, width), np.float32)
    padded[:n, :dim] = vectors
    offsets = np.full(n_tiles * TILE, -np.inf, np.float32)
    offsets[:n] = offset
    tiles = held(halves(padded).reshape(n_tiles, TILE, width).transpose(0, 2, 1), np.uint16)
    return tiles, offsets.reshape(n_tiles, TILE)


def widened(vectors: Floats, tiles: Any) -> Floats:
    """Vectors of requests [B, dim] as wide as those in tiles [n_tiles, width, TILE], with zeros."""
    padded = np.zeros((len(vectors), tiles.shape[1]), np.float32)
    padded[:, : vectors.shape[1]] = vectors
    return padded


class DenseTable:
    """Vectors of n titles as bfloat16, in tiles [n_tiles, dim, TILE] so that a batch's products stream through memory once.

    Search is exact over the rounded vectors, and a request's scores do not depend on what else is in its batch.
    """

    def __init__(self, vectors: Floats, offset: Floats | None = None) -> None:
        """Take `vectors` [n, dim] and what is added to each title's score, `offset` [n]; -inf keeps a title out for good."""
        self.n = len(vectors)
        self._tiles, self._offset = packed(vectors, np.zeros(self.n, np.float32) if offset is None else offset)

    def best(self, vectors: Floats, asked: Bools, eligible: Bools, k: int) -> Retrieved:
        """The k best eligible titles for each of `vectors` [B, dim] that is `asked` [B]; ties by lower title number."""
        if not min(k, self.n, eligible.shape[1]):
            return nothing(len(vectors))
        padded = widened(vectors, self._tiles)
        items, scores = room(len(vectors), min(k, self.n, eligible.shape[1]))
        _top_of_tiles((padded, asked), (self._tiles, self._offset), held(eligible, np.bool_), (items, scores))
        return filled(items, scores)


@compiled
def _four(vectors: Any, first: int, table: Tables, tile: int, sums: Any) -> None:
    """Products of four vectors with a tile, summed in the order of `one_request`, into [4 * TILE].

    A sum is read and written once for four products, and what is read of the tile serves four requests. The flat array tells
    the compiler that the four do not overlap.
    """
    tiles, offset = table
    for column in range(TILE):
        sums[column] = sums[TILE + column] = sums[2 * TILE + column] = sums[3 * TILE + column] = offset[tile, column]
    for row in range(0, vectors.shape[1], 4):
        a, b, c, d = vectors[first], vectors[first + 1], vectors[first + 2], vectors[first + 3]
        a0, a1, a2, a3 = a[row], a[row + 1], a[row + 2], a[row + 3]
        b0, b1, b2, b3 = b[row], b[row + 1], b[row + 2], b[row + 3]
        c0, c1, c2, c3 = c[row], c[row + 1], c[row + 2], c[row + 3]
        d0, d1, d2, d3 = d[row], d[row + 1], d[row + 2], d[row + 3]
        for column in range(TILE):
            p, q, r, s = (
                wide(tiles[tile, row, column]),
                wide(tiles[tile, row + 1, column]),
                wide(tiles[tile, row + 2, column]),
                wide(tiles[tile, row + 3, column]),
            )
            sums[column] = sums[column] + a0 * p + a1 * q + a2 * r + a3 * s
            sums[TILE + column] = sums[TILE + column] + b0 * p + b1 * q + b2 * r + b3 * s
            sums[2 * TILE + column] = sums[2 * TILE + column] + c0 * p + c1 * q + c2 * r + c3 * s
            sums[3 * TILE + column] = sums[3 * TILE + column] + d0 * p + d1 * q + d2 * r + d3 * s


@compiled
def one_request(vectors: Any, first: int, table: Tables, tile: int, sums: Any) -> None:
    """Products of one vector with a tile into the first [TILE]."""
    tiles, offset = table
    for column in range(TILE):
        sums[column] = offset[tile, column]
    for row in range(0, vectors.shape[1], 4):
        a0, a1, a2, a3 = vectors[first, row], vectors[first, row + 1], vectors[first, row + 2], vectors[first, row + 3]
        for column in range(TILE):
            p, q, r, s = (
                wide(tiles[tile, row, column]),
                wide(tiles[tile, row + 1, column]),
                wide(tiles[tile, row + 2, column]),
                wide(tiles[tile, row + 3, column]),
            )
            sums[column] = sums[column] + a0 * p + a1 * q + a2 * r + a3 * s


@compiled
def _top_of_tiles(asked: tuple[Floats, Bools], table: Tables, eligible: Bools, out: tuple[Ints, Floats]) -> None:
    """The best eligible titles by inner product into out = (items, scores) [B, k], which come filled with padding.

    asked = (vectors [B, dim], which of them [B]). A request's products do not depend on which others they are made with.
    """
    tiles, k = table[0], out[0].shape[1]
    rows = np.flatnonzero(asked[1])
    vectors = np.zeros((len(rows) + _TOGETHER, asked[0].shape[1]), np.float32)
    for place in range(len(rows)):
        vectors[place] = asked[0][rows[place]]
    allowed = _allowed(eligible, rows, min(eligible.shape[1], len(tiles) * TILE))
    chunk = min(_CHUNK, allowed.shape[1])
    ranks, peaks, scratch = room_for_ranks(len(rows), chunk)
    flat = np.empty(_TOGETHER * TILE, np.float32)
    sums, bits = flat.reshape((_TOGETHER, TILE)), flat.view(np.int32).reshape((_TOGETHER, TILE))
    kept, n_kept = np.empty((len(rows), k), np.int64), np.zeros(len(rows), np.int64)
    places, keys = np.empty(chunk * TILE, np.int64), np.empty(k + chunk * TILE, np.int64)
    for begin in range(0, allowed.shape[1], chunk):
        n_tiles = min(chunk, allowed.shape[1] - begin)
        for at in range(n_tiles):
            for first in range(0, len(rows), _TOGETHER):
                if first + 1 == len(rows):
                    one_request(vectors, first, table, begin + at, flat)
                else:
                    _four(vectors, first, table, begin + at, flat)
                for place in range(first, min(first + _TOGETHER, len(rows))):
                    rank_tile((sums, bits, place - first), allowed, place, begin + at, (ranks, peaks, scratch, at))
        for place in range(len(rows)):
            size = promising(ranks, peaks, place, n_tiles, k, places)
            for at in range(size):
                keys[at] = key(ranks[place, places[at] // TILE, places[at] % TILE], begin * TILE + places[at])
            keys[size : size + n_kept[place]] = kept[place, : n_kept[place]]
            best = best_keys(keys[: size + n_kept[place]], k)
            n_kept[place] = len(best)
            kept[place, : len(best)] = best
    for place in range(len(rows)):
        unpack(kept[place, : n_kept[place]], out[0][rows[place]], out[1][rows[place]])

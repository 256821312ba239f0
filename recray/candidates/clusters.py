"""Search over so many title vectors that going through all of them stops paying: tiles of like titles, and few of the tiles.

An inverted file [Jegou2011] whose lists are of one size, that of a tile, so that the kernels of `selection` serve both.
"""

from typing import Any, Final, TypeAlias

import numpy as np

from recray.candidates.dense import DenseTable, one_request, packed, widened
from recray.candidates.selection import TILE, key, promising, rank_tile, unpack
from recray.candidates.selection import room as room_for_ranks
from recray.candidates.source import filled, nothing, room
from recray.features.compiled import compiled, held
from recray.schema import Bools, Floats, Ints, Longs, Retrieved

EXACT: Final = 150_000
"""Titles up to which every one is searched: there both ways take the same time (docs/decisions/0022)."""
EXAMINED: Final = 32_768
"""Eligible titles whose scores are computed for a request; recall in docs/experiments.md."""
_TILES_PER_TILE: Final = 4
"""Tiles looked into for each that would do if every title were eligible; what filters leave few of is found less surely."""
_SPREAD: Final = 2.6
"""Deviations above the mean at which the highest of 128 normal values is expected."""
_SAMPLE: Final = 4_096
_POWER_STEPS: Final = 6
_MEANS_STEPS: Final = 3

Held: TypeAlias = tuple[Any, Floats, Ints]
"""Halves of title vectors [n_tiles, dim, TILE]; what is added to each product, and its title or -1 [n_tiles, TILE]."""


def alike(vectors: Floats) -> Longs:
    """An order [n] int64 of vectors [n, dim] in which each TILE in a row are near one another.

    Halved again and again at the median between two means, each part a whole number of tiles.
    """
    order = np.arange(len(vectors))
    parts = [(0, len(vectors))]
    while parts:
        start, stop = parts.pop()
        if stop - start <= TILE:
            continue
        part = order[start:stop]
        middle = -(-part.size // TILE) // 2 * TILE
        direction = _apart(vectors[part[:: max(part.size // _SAMPLE, 1)]])
        order[start:stop] = part[np.argpartition(vectors[part] @ direction, middle - 1)]
        parts += [(start, start + middle), (start + middle, stop)]
    return order


def _apart(vectors: Floats) -> Floats:
    """The direction [dim] from one mean of two to the other, each of half of the vectors; zeros where all are the same."""
    centred = vectors - vectors.mean(axis=0)
    direction = centred[np.argmax((centred * centred).sum(axis=1))]
    for _ in range(_POWER_STEPS):
        direction = (centred @ direction) @ centred
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    for _ in range(_MEANS_STEPS):
        along = centred @ direction
        high = along > np.median(along)
        if not high.any():
            break
        direction = centred[high].mean(axis=0) - centred[~high].mean(axis=0)
    return direction.astype(np.float32)


class ClusteredTable:
    """As `DenseTable`, but a request is compared with the means of tiles, and with the titles of the tiles that promise most.

    A tile promises the product with its mean and some deviations more, as wide as its titles are spread. Tiles are looked
    into until so many eligible titles were. A request's answer does not depend on what else is in its batch.
    """

    def __init__(self, vectors: Floats, offset: Floats | None = None, examined: int = EXAMINED) -> None:
        """Take what `DenseTable` takes; titles that -inf keeps out take no place. `examined`: eligible titles per request."""
        self.n, dim = vectors.shape
        self._examined = examined
        added = np.zeros(self.n, np.float32) if offset is None else offset
        known = np.flatnonzero(added > -np.inf)
        order = known[alike(vectors[known])]
        self._tiles, self._offset = packed(vectors[order], added[order])
        self._numbers = np.full(self._offset.shape, -1, np.int32)
        self._numbers.ravel()[: order.size] = order
        self._n_tiles = min(len(self._tiles), _TILES_PER_TILE * -(-examined // TILE))
        begins = np.arange(0, order.size, TILE)
        size = np.diff(begins, append=order.size)[:, None]
        means, spread = _moments(vectors[order], begins, size)
        typical, uneven = _moments(added[order][:, None], begins, size)
        promise = np.column_stack((means, _SPREAD / np.sqrt(dim) * spread)).astype(np.float32)
        self._promise = DenseTable(promise, (typical[:, 0] + _SPREAD * uneven).astype(np.float32))

    def best(self, vectors: Floats, asked: Bools, eligible: Bools, k: int) -> Retrieved:
        """Nearly the k best eligible titles for each of `vectors` [B, dim] that is `asked` [B]; ties by lower title number."""
        if not min(k, len(self._tiles), eligible.shape[1]):
            return nothing(len(vectors))
        length = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
        every = np.ones((len(vectors), len(self._tiles)), np.bool_)
        likely = self._promise.best(np.concatenate((vectors, length), axis=1), asked, every, self._n_tiles)
        padded = widened(vectors, self._tiles)
        items, scores = room(len(vectors), min(k, self.n, eligible.shape[1]))
        about = (self._tiles, self._offset, self._numbers), self._examined
        _top_of_likely((padded, held(likely.items, np.int32)), about, held(eligible, np.bool_), (items, scores))
        return filled(items, scores)


def _moments(values: Floats, begins: Longs, size: Longs) -> tuple[Any, Any]:
    """Means [n_tiles, dim] of each stretch of rows, and the root [n_tiles] of their variances' sum, float64."""
    wide = values.astype(np.float64)
    mean = np.add.reduceat(wide, begins) / size if begins.size else np.empty((0, wide.shape[1]))
    square = np.add.reduceat(np.square(wide), begins) / size if begins.size else mean
    return mean, np.sqrt(np.maximum((square - np.square(mean)).sum(axis=1), 0))


@compiled
def _top_of_likely(asked: tuple[Floats, Ints], about: tuple[Held, int], eligible: Bools, out: tuple[Ints, Floats]) -> None:
    """The best eligible titles of each request's likely tiles into out = (items, scores) [B, k], filled with padding.

    asked = (vectors [B, dim], tiles [B, m] with the most promising first, ended by -1).
    """
    vectors, likely = asked
    (tiles, offset, numbers), examined = about
    most = max(likely.shape[1], 1)
    allowed = np.empty((1, most, TILE), np.bool_)
    ranks, peaks, scratch = room_for_ranks(1, most)
    sums = np.empty(TILE, np.float32)
    scores, bits = sums.reshape((1, TILE)), sums.view(np.int32).reshape((1, TILE))
    places, keys, looked = np.empty(most * TILE, np.int64), np.empty(most * TILE, np.int64), np.empty(most, np.int64)
    for row in range(len(vectors)):
        n_seen, n_tiles = 0, 0
        for tile in likely[row]:
            if tile < 0 or n_seen >= examined:
                break
            n_open = 0
            for column in range(TILE):
                number = numbers[tile, column]
                may = 0 <= number < eligible.shape[1] and eligible[row, number]
                allowed[0, n_tiles, column] = may
                n_open += may
            if n_open:
                one_request(vectors, row, (tiles, offset), tile, sums)
                rank_tile((scores, bits, 0), allowed, 0, n_tiles, (ranks, peaks, scratch, n_tiles))
                looked[n_tiles] = tile
                n_tiles, n_seen = n_tiles + 1, n_seen + n_open
        size = promising(ranks, peaks, 0, n_tiles, out[0].shape[1], places)
        for at in range(size):
            slot, column = places[at] // TILE, places[at] % TILE
            keys[at] = key(ranks[0, slot, column], numbers[looked[slot], column])
        unpack(keys[:size], out[0][row], out[1][row])


def table_of(vectors: Floats, offset: Floats | None = None) -> DenseTable | ClusteredTable:
    """The table that pays for so many vectors."""
    return DenseTable(vectors, offset) if len(vectors) <= EXACT else ClusteredTable(vectors, offset)

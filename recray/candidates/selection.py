"""The few best of very many scores, exactly, sorting next to none: of each `_LANES` scores in a row the largest speaks.

The k-th largest of those peaks is reached by at least k scores. What lies below it is not among the k best, and little does
not lie below. Scores are held as ranks: int32 that sort as the scores do, `_NEVER` for what must not be taken.
"""

from typing import Any, Final

import numpy as np

from recray.features.compiled import compiled

TILE: Final = 128
"""Scores that are ranked in one step: title vectors of 64 dimensions in halves stay in the first-level cache meanwhile."""
_LANES: Final = 16
BLOCKS: Final = TILE // _LANES
"""Peaks of a tile."""
_NEVER: Final = np.int32(-0x80000000)
_LOWEST: Final = np.float32(np.finfo(np.float32).min)
_SIGNLESS: Final = np.int32(0x7FFFFFFF)
_LAST: Final = np.int64(0x7FFFFFFF)
"""Above every title number."""


@compiled
def rank_tile(given: tuple[Any, Any, int], allowed: Any, row: int, tile: int, held: tuple[Any, Any, Any, int]) -> None:
    """Rank one tile of a request's scores.

    given = (scores [m, TILE] float32 without negative zeros, the same memory as int32, which of the m); `allowed` [B, n_tiles,
    TILE] at `row` and `tile`; held = (ranks [B, n, TILE], peaks [B, n, BLOCKS], scratch [TILE], which of the n). -inf and NaN
    are never taken.
    """
    scores, bits, one = given
    ranks, peaks, scratch, at = held
    for column in range(TILE):
        number = bits[one, column]
        rank = np.int32(number ^ ((number >> np.int32(31)) & _SIGNLESS))
        scratch[column] = rank if allowed[row, tile, column] & (scores[one, column] >= _LOWEST) else _NEVER
    for column in range(TILE):
        ranks[row, at, column] = scratch[column]
    for block in range(BLOCKS):
        peak = scratch[block * _LANES]
        for lane in range(1, _LANES):
            peak = max(peak, scratch[block * _LANES + lane])
        peaks[row, at, block] = peak


@compiled
def promising(ranks: Any, peaks: Any, row: int, n_tiles: int, k: int, places: Any) -> int:
    """Places of what may be among the k best of a request's first tiles, in rising order, into `places`; returns how many."""
    n = n_tiles * BLOCKS
    bound = np.int32(_NEVER + 1)
    if n > k:
        bound = max(bound, np.partition(peaks[row, :n_tiles].ravel(), n - k)[n - k])
    size = 0
    for tile in range(n_tiles):
        for block in range(BLOCKS):
            if peaks[row, tile, block] >= bound:
                for column in range(block * _LANES, (block + 1) * _LANES):
                    if ranks[row, tile, column] >= bound:
                        places[size] = tile * TILE + column
                        size += 1
    return size


@compiled
def key(rank: Any, item: int) -> Any:
    """A whole number that sorts as the rank does, and of equal ranks as the lower title number before the higher."""
    return (np.int64(rank) << 32) | (_LAST - item)


@compiled
def best_keys(keys: Any, k: int) -> Any:
    """The k largest keys in any order; all of them when they are no more than that."""
    return np.partition(keys, len(keys) - k)[len(keys) - k :] if len(keys) > k else keys


@compiled
def unpack(keys: Any, items: Any, scores: Any) -> int:
    """The largest of these keys, best first, as titles and scores into [k]; returns how many."""
    kept = np.sort(best_keys(keys, len(items)))
    size = len(kept)
    for place in range(size):
        this = kept[size - 1 - place]
        rank = np.int32(this >> 32)
        items[place] = _LAST - (this & np.int64(0xFFFFFFFF))
        scores[place] = np.int32(rank ^ ((rank >> np.int32(31)) & _SIGNLESS)).view(np.float32)
    return size


@compiled
def room(n_rows: int, n_tiles: int) -> tuple[Any, Any, Any]:
    """Ranks, peaks and scratch, as `rank_tile` fills them."""
    return np.empty((n_rows, n_tiles, TILE), np.int32), np.empty((n_rows, n_tiles, BLOCKS), np.int32), np.empty(TILE, np.int32)


@compiled
def workspace(n: int) -> tuple[Any, Any, Any, Any, Any]:
    """What `best_of` chooses from, for up to n scores: scores, which may be taken, their numbers; and its scratch."""
    n_tiles = -(-n // TILE)
    size = n_tiles * TILE
    values, allowed = np.zeros(size, np.float32), np.zeros((1, n_tiles, TILE), np.bool_)
    return values, allowed, np.arange(size).astype(np.int32), np.empty(size, np.int64), room(1, n_tiles)


@compiled
def best_of(space: tuple[Any, Any, Any, Any, Any], n: int, out: tuple[Any, Any]) -> int:
    """The best of the first n scores of a workspace into out = (numbers, scores) [k]; returns how many."""
    values, allowed, numbers, places, (ranks, peaks, scratch) = space
    n_tiles = -(-n // TILE)
    allowed[0].ravel()[n : n_tiles * TILE] = False
    scores, bits = values.reshape((-1, TILE)), values.view(np.int32).reshape((-1, TILE))
    for tile in range(n_tiles):
        rank_tile((scores, bits, tile), allowed, 0, tile, (ranks, peaks, scratch, tile))
    size = promising(ranks, peaks, 0, n_tiles, len(out[0]), places)
    for at in range(size):
        places[at] = key(ranks[0, places[at] // TILE, places[at] % TILE], numbers[places[at]])
    return unpack(places[:size], out[0], out[1])

"""Loops over titles that many requests share: what is best, what lies beside a history, what several sources propose.

Every kernel goes over the requests of a batch one by one and shares nothing between them but scratch that it clears, so a
batch gives bit for bit what its requests give alone.
"""

from typing import Any, Final

import numpy as np

from recray.features.compiled import compiled
from recray.schema import Bools, Floats, Ints, Longs

_LAST: Final = np.int64(0x7FFFFFFF)
"""Above every title number."""
_AT_ONCE: Final = 64
"""Scores that are compared with the least of interest in one step."""


@compiled
def _key(score: Any, item: int) -> Any:
    """A whole number that sorts as the score does, and of equal scores as the lower title number before the higher."""
    bits = np.int64(np.float32(score + np.float32(0)).view(np.int32))
    return ((bits ^ ((bits >> 31) & _LAST)) << 32) | (_LAST - item)


@compiled
def _score(key: Any) -> Any:
    bits = np.int32(key >> 32)
    return np.int32(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)


@compiled
def _keep_best(keys: Any, size: int, k: int) -> int:
    """Bring the k largest of the first `size` keys to the front, in any order; returns how many there are now."""
    if size <= k:
        return size
    keys[:k] = np.partition(keys[:size], size - k)[size - k :]
    return k


@compiled
def _unpack(keys: Any, items: Any, scores: Any) -> int:
    """The largest of these keys, best first, as titles and scores into [k]; returns how many."""
    size = _keep_best(keys, len(keys), len(items))
    keys = np.sort(keys[:size])
    for place in range(size):
        key = keys[size - 1 - place]
        items[place], scores[place] = _LAST - (key & np.int64(0xFFFFFFFF)), _score(key)
    return size


@compiled
def _scan(scores: Any, eligible: Any, start: int, held: tuple[Any, int, Any], k: int) -> tuple[int, Any]:
    """Add eligible titles `start`, `start` + 1, ... to held = (keys, size, least); returns its new size and least.

    `keys` has room for more than k; when it is full the k best stay, and only what is above the least of them comes in: titles
    arrive in order of their numbers, and a later one loses ties.
    """
    keys, size, least = held
    whole = len(scores) // _AT_ONCE
    # In this shape the loop below becomes a few instructions for all of a block.
    blocks, allowed = scores[: whole * _AT_ONCE].reshape((-1, _AT_ONCE)), eligible[: whole * _AT_ONCE].reshape((-1, _AT_ONCE))
    for block in range(whole + 1):
        n_above = np.int32(block == whole)
        if block < whole:
            for place in range(_AT_ONCE):
                n_above += np.int32(blocks[block, place] > least) * np.int32(allowed[block, place])
        if n_above == 0:
            continue
        for column in range(block * _AT_ONCE, min((block + 1) * _AT_ONCE, len(scores))):
            if eligible[column] and scores[column] > least:
                if size == len(keys):
                    size = _keep_best(keys, size, k)
                    least = _score(keys[:size].min())
                    if not scores[column] > least:
                        continue
                keys[size] = _key(scores[column], start + column)
                size += 1
    return size, least


@compiled
def top(scores: Floats, eligible: Bools, items: Ints, found: Floats) -> None:
    """The best eligible titles of dense scores [B, n] into `items` and `found` [B, k], which come filled with padding.

    Ties go to the lower number; -inf and NaN are never taken.
    """
    k = items.shape[1]
    keys = np.empty(2 * k, np.int64)
    for row in range(len(scores)):
        size, _ = _scan(scores[row], eligible[row], 0, (keys, 0, np.float32(-np.inf)), k)
        _unpack(keys[:size], items[row], found[row])


@compiled
def _products(vector: Any, tile: Any, offset: Any, scores: Any) -> None:
    """Inner products of a vector [dim] with a tile [dim, width], plus offsets; dim is a multiple of four."""
    width = len(scores)
    for column in range(width):
        scores[column] = offset[column]
    for row in range(0, len(vector), 4):
        # Four rows at a time: a sum is then read and written once for four products.
        first, second, third, fourth = vector[row], vector[row + 1], vector[row + 2], vector[row + 3]
        for column in range(width):
            scores[column] += (first * tile[row, column] + second * tile[row + 1, column]) + (
                third * tile[row + 2, column] + fourth * tile[row + 3, column]
            )


@compiled
def top_of_tiles(asked: tuple[Floats, Bools], table: tuple[Floats, Floats], eligible: Bools, out: tuple[Ints, Floats]) -> None:
    """The best eligible titles by inner product into out = (items, scores) [B, k], which come filled with padding.

    asked = (vectors [B, dim], which of them [B]); table = (tiles [n_tiles, dim, width], offset [n_tiles * width]).
    """
    vectors, wanted = asked
    tiles, offset = table
    items, found = out
    k, width = items.shape[1], tiles.shape[2]
    scores = np.empty(width, np.float32)
    keys = np.empty((len(vectors), 2 * k), np.int64)
    size: Any = np.zeros(len(vectors), np.int64)
    least = np.full(len(vectors), -np.inf, np.float32)
    for tile in range(len(tiles)):
        start = tile * width
        n = min(width, eligible.shape[1] - start)
        for row in np.flatnonzero(wanted):
            _products(vectors[row], tiles[tile], offset[start : start + width], scores)
            kept = keys[row], size[row], least[row]
            size[row], least[row] = _scan(scores[:n], eligible[row, start : start + n], start, kept, k)
    for asker in range(len(vectors)):
        _unpack(keys[asker, : size[asker]], items[asker], found[asker])


@compiled
def first(order: Ints, line: Longs, eligible: Bools, items: Ints) -> None:
    """The first eligible titles of the order `order[line[b]]` (ended by -1) into `items` [B, k], filled with padding."""
    for row in range(len(line)):
        size = 0
        for item in order[line[row]]:
            if item < 0 or size == items.shape[1]:
                break
            if item < eligible.shape[1] and eligible[row, item]:
                items[row, size] = item
                size += 1


@compiled
def _add(total: Any, touched: Ints, n_touched: int, item: int, share: float) -> int:
    """Add to a title's sum and remember the title when it is its first; returns how many are remembered."""
    if total[item] == 0:
        touched[n_touched] = item
        n_touched += 1
    total[item] += share
    return n_touched


@compiled
def _best_touched(total: Any, touched: Ints, eligible: Bools, keys: Any, out: tuple[Any, Any]) -> int:
    """The best eligible titles of those touched, whose sums are cleared, into out = (items, scores) [k]; returns how many."""
    size = 0
    for item in touched:
        if eligible[item]:
            keys[size] = _key(total[item], item)
            size += 1
        total[item] = 0
    return _unpack(keys[:size], out[0], out[1])


@compiled
def beside(
    history: Ints, weight: Floats, neighbours: Ints, given: Floats, eligible: Bools, out: tuple[Ints, Floats, Ints]
) -> None:
    """Sums of what each title of a history [B, H] gives its neighbours; the best into out = (items, scores, seeds) [B, k].

    `neighbours` [n, m] with their `given` [n, m], which is 0 where padded. A seed is the title that gave most, the newest
    where several did.
    """
    items, found, seeds = out
    n = eligible.shape[1]
    total, most = np.zeros(n, np.float64), np.zeros(n, np.float32)
    seed, touched, keys = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64)
    for row in range(len(history)):
        n_touched = 0
        for place in np.flatnonzero(history[row] >= 0):
            title = history[row, place]
            for column in range(neighbours.shape[1]):
                item = neighbours[title, column]
                share = given[title, column] * weight[row, place]
                if share > 0 and item < n:
                    if total[item] == 0:
                        most[item] = 0
                    n_touched = _add(total, touched, n_touched, item, share)
                    if share > most[item]:
                        most[item], seed[item] = share, title
        size = _best_touched(total, touched[:n_touched], eligible[row], keys, (items[row], found[row]))
        for at in range(size):
            seeds[row, at] = seed[items[row, at]]


@compiled
def _alike(
    history: Ints,
    weight: Floats,
    postings: tuple[Longs, Ints, Floats],
    scratch: tuple[Floats, Ints, Longs],
    out: tuple[Ints, Floats],
) -> int:
    """References by their likeness to one history [H], best first into out; returns how many."""
    offsets, whose, worth = postings
    likeness, met, keys = scratch
    n_met = 0
    for place in np.flatnonzero(history >= 0):
        for at in range(offsets[history[place]], offsets[history[place] + 1]):
            share = worth[at] * weight[place]
            if share > 0:
                n_met = _add(likeness, met, n_met, whose[at], share)
    for at in range(n_met):
        keys[at] = _key(likeness[met[at]], met[at])
        likeness[met[at]] = 0
    return _unpack(keys[:n_met], out[0], out[1])


@compiled
def votes(
    asked: tuple[Ints, Floats],
    postings: tuple[Longs, Ints, Floats],
    references: tuple[Longs, Ints],
    n_similar: int,
    eligible: Bools,
    out: tuple[Ints, Floats],
) -> None:
    """Titles of the references most like each history, every reference voting with its likeness; out = (items, scores) [B, k].

    asked = (history, weight) [B, H]; `postings` are the references by title (offsets, reference, weight), `references` their
    titles (offsets, title).
    """
    begin, titles = references
    n = eligible.shape[1]
    n_references = len(begin) - 1
    scratch = np.zeros(n_references, np.float32), np.empty(n_references, np.int32), np.empty(n_references, np.int64)
    similar, likeness = np.empty(n_similar, np.int32), np.empty(n_similar, np.float32)
    total, touched, keys = np.zeros(n, np.float32), np.empty(n, np.int32), np.empty(n, np.int64)
    for row in range(len(asked[0])):
        n_touched = 0
        for rank in range(_alike(asked[0][row], asked[1][row], postings, scratch, (similar, likeness))):
            for at in range(begin[similar[rank]], begin[similar[rank] + 1]):
                if titles[at] < n:
                    n_touched = _add(total, touched, n_touched, titles[at], likeness[rank])
        _best_touched(total, touched[:n_touched], eligible[row], keys, (out[0][row], out[1][row]))


@compiled
def merge(wide: Ints, score: Floats, seed: Ints, n_items: int, merged: tuple[Ints, Floats, Ints, Ints]) -> int:
    """Union in quota rounds of proposals [B, depth, sources] (-1 where there is none); returns the width that is used.

    merged = (items [B, K] of -1, scores [B, K, sources] of NaN, ranks [B, K, sources] of 0, seeds [B, K] of -1). A title that
    comes again fills in the columns of its sources; its seed is the first that is not -1.
    """
    items, scores, ranks, seeds = merged
    slot_of = np.full(n_items, -1, np.int32)
    width = 0
    for row in range(len(wide)):
        size = 0
        for rank in range(wide.shape[1]):
            for source in range(wide.shape[2]):
                item = wide[row, rank, source]
                if item < 0:
                    continue
                slot = slot_of[item]
                if slot < 0:
                    if size == items.shape[1]:
                        continue
                    slot = size
                    slot_of[item] = slot
                    items[row, slot] = item
                    size += 1
                scores[row, slot, source] = score[row, rank, source]
                ranks[row, slot, source] = rank + 1
                if seeds[row, slot] < 0:
                    seeds[row, slot] = seed[row, rank, source]
        for slot in range(size):
            slot_of[items[row, slot]] = -1
        width = max(width, size)
    return width

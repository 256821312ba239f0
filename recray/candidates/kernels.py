"""Loops over titles that many requests share: what is best, what lies beside a history, what several sources propose.

Every kernel goes over the requests of a batch one by one and shares nothing between them but scratch that it clears, so a
batch gives bit for bit what its requests give alone.
"""

from typing import Any

import numpy as np

from recray.features.compiled import compiled
from recray.schema import Bools, Floats, Ints, Longs


@compiled
def _worse(score: float, item: int, other_score: float, other_item: int) -> bool:
    return score < other_score or (score == other_score and item > other_item)


@compiled
def _sift(scores: Any, items: Any, place: int, size: int) -> None:
    """Let the entry at `place` sink until neither child is worse: the root of a heap is the worst that is kept."""
    score, item = scores[place], items[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _worse(scores[child + 1], items[child + 1], scores[child], items[child]):
            child += 1
        if not _worse(scores[child], items[child], score, item):
            break
        scores[place], items[place] = scores[child], items[child]
        place = child
    scores[place], items[place] = score, item


@compiled
def _offer(scores: Any, items: Any, size: int, score: Any, item: int) -> int:
    """Put an entry into the heap if there is room or it is better than the worst; returns the new size."""
    if size < len(items):
        place = size
        while place > 0:
            parent = (place - 1) // 2
            if not _worse(score, item, scores[parent], items[parent]):
                break
            scores[place], items[place] = scores[parent], items[parent]
            place = parent
        scores[place], items[place] = score, item
        return size + 1
    if _worse(scores[0], items[0], score, item):
        scores[0], items[0] = score, item
        _sift(scores, items, 0, size)
    return size


@compiled
def _in_order(scores: Any, items: Any, size: int) -> None:
    """Sort a heap best first, in place."""
    for last in range(size - 1, 0, -1):
        scores[0], scores[last] = scores[last], scores[0]
        items[0], items[last] = items[last], items[0]
        _sift(scores, items, 0, last)


@compiled
def _scan(scores: Any, eligible: Any, start: int, size: Any, out: tuple[Any, Any]) -> Any:
    """Offer eligible titles `start`, `start` + 1, ... to the heap out = (items, scores) of `size`; returns its new size."""
    items, found = out
    for column in range(len(scores)):
        score = scores[column]
        # A later title loses ties, so once the heap is full only a better one is of interest.
        if eligible[column] and score > (found[0] if size == len(items) else -np.inf):
            size = _offer(found, items, size, score, start + column)
    return size


@compiled
def top(scores: Floats, eligible: Bools, items: Ints, found: Floats) -> None:
    """The best eligible titles of dense scores [B, n] into `items` and `found` [B, k], which come filled with padding.

    Ties go to the lower number; -inf and NaN are never taken.
    """
    for row in range(len(scores)):
        size = _scan(scores[row], eligible[row], 0, 0, (items[row], found[row]))
        _in_order(found[row], items[row], size)


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
    width = tiles.shape[2]
    scores = np.empty(width, np.float32)
    size: Any = np.zeros(len(vectors), np.int64)
    for tile in range(len(tiles)):
        start = tile * width
        n = min(width, eligible.shape[1] - start)
        for row in np.flatnonzero(wanted):
            _products(vectors[row], tiles[tile], offset[start : start + width], scores)
            size[row] = _scan(scores[:n], eligible[row, start : start + n], start, size[row], (items[row], found[row]))
    for asker in range(len(vectors)):
        _in_order(found[asker], items[asker], size[asker])


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
def _best_touched(total: Any, touched: Ints, eligible: Bools, items: Ints, found: Floats) -> int:
    """The best eligible titles of those touched, whose sums are cleared; returns how many."""
    size = 0
    for item in touched:
        if eligible[item]:
            size = _offer(found, items, size, np.float32(total[item]), item)
        total[item] = 0
    _in_order(found, items, size)
    return size


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
    seed, touched = np.empty(n, np.int32), np.empty(n, np.int32)
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
        size = _best_touched(total, touched[:n_touched], eligible[row], items[row], found[row])
        for at in range(size):
            seeds[row, at] = seed[items[row, at]]


@compiled
def _alike(
    history: Ints, weight: Floats, postings: tuple[Longs, Ints, Floats], scratch: tuple[Floats, Ints], out: tuple[Ints, Floats]
) -> int:
    """References by their likeness to one history [H], best first into out; returns how many."""
    offsets, whose, worth = postings
    likeness, met = scratch
    n_met = 0
    for place in np.flatnonzero(history >= 0):
        for at in range(offsets[history[place]], offsets[history[place] + 1]):
            share = worth[at] * weight[place]
            if share > 0:
                n_met = _add(likeness, met, n_met, whose[at], share)
    size = 0
    for other in met[:n_met]:
        size = _offer(out[1], out[0], size, likeness[other], other)
        likeness[other] = 0
    _in_order(out[1], out[0], size)
    return size


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
    scratch = np.zeros(len(begin) - 1, np.float32), np.empty(len(begin) - 1, np.int32)
    similar, likeness = np.empty(n_similar, np.int32), np.empty(n_similar, np.float32)
    total, touched = np.zeros(n, np.float32), np.empty(n, np.int32)
    for row in range(len(asked[0])):
        n_touched = 0
        for rank in range(_alike(asked[0][row], asked[1][row], postings, scratch, (similar, likeness))):
            for at in range(begin[similar[rank]], begin[similar[rank] + 1]):
                if titles[at] < n:
                    n_touched = _add(total, touched, n_touched, titles[at], likeness[rank])
        _best_touched(total, touched[:n_touched], eligible[row], out[0][row], out[1][row])


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

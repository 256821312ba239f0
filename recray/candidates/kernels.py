"""Loops over titles that many requests share: what is best, what lies beside a history, what several sources propose.

Every kernel goes over the requests of a batch one by one and shares nothing between them but scratch that it clears, so a
batch gives bit for bit what its requests give alone.
"""

from typing import Any

import numpy as np

from recray.candidates.selection import best_of, workspace
from recray.features.compiled import compiled
from recray.schema import Bools, Floats, Ints, Longs


@compiled
def top(scores: Floats, eligible: Bools, items: Ints, found: Floats) -> None:
    """The best eligible titles of dense scores [B, n] into `items` and `found` [B, k], which come filled with padding.

    Ties go to the lower number; -inf and NaN are never taken.
    """
    n = scores.shape[1]
    space = workspace(n)
    for row in range(len(scores)):
        space[0][:n] = scores[row] + np.float32(0)  # no negative zeros
        space[1][0].ravel()[:n] = eligible[row]
        best_of(space, n, (items[row], found[row]))


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
    touched[n_touched] = item
    n_touched += total[item] == 0  # a branch here would be mistaken half of the time
    total[item] += share
    return n_touched


@compiled
def _best_touched(total: Any, n_touched: int, eligible: Any, space: Any, out: tuple[Any, Any]) -> int:
    """The best eligible of the sums touched, which are cleared, into out = (titles, sums) [k]; returns how many.

    The titles touched are the numbers of the workspace.
    """
    values, touched = space[0], space[2]
    may = space[1][0].ravel()
    for at in range(n_touched):
        values[at], may[at] = total[touched[at]], eligible[touched[at]]
        total[touched[at]] = 0
    return best_of(space, n_touched, out)


@compiled
def beside(
    asked: tuple[Ints, Ints, Floats], neighbours: Ints, given: Floats, eligible: Bools, out: tuple[Ints, Floats, Ints]
) -> None:
    """Sums of what each title of a history gives its neighbours; the best into out = (items, scores, seeds) [B, k].

    asked = (titles, their rows of `neighbours`, their weights) [B, H], a row below 0 where there is none. `neighbours` [r, m]
    with their `given` [r, m], which is 0 where padded. A seed is the title that gave most, the newest where several did.
    """
    history, rows, weight = asked
    items, found, seeds = out
    n = eligible.shape[1]
    total, space = np.zeros(n, np.float64), workspace(min(n, history.shape[1] * neighbours.shape[1]) + 1)
    # Counted from one: memory of zeros is not touched before it is used, however large the catalogue.
    slot_of, most = np.zeros(n, np.int32), np.empty(items.shape[1] + 1, np.float32)
    for row in range(len(history)):
        n_touched = 0
        for place in np.flatnonzero(rows[row] >= 0):
            line, times = rows[row, place], weight[row, place]
            for column in range(neighbours.shape[1]):
                item, share = neighbours[line, column], given[line, column] * times
                if share > 0 and item < n:
                    n_touched = _add(total, space[2], n_touched, item, share)
        size = _best_touched(total, n_touched, eligible[row], space, (items[row], found[row]))
        most[: size + 1] = 0
        most[0] = np.inf
        for slot in range(size):
            slot_of[items[row, slot]] = slot + 1
        # Only now is it known whose seeds are asked for.
        for place in np.flatnonzero(rows[row] >= 0):
            line, times = rows[row, place], weight[row, place]
            for column in range(neighbours.shape[1]):
                item, share = neighbours[line, column], given[line, column] * times
                if item < n and share > most[slot_of[item]]:
                    most[slot_of[item]], seeds[row, slot_of[item] - 1] = share, history[row, place]
        for slot in range(size):
            slot_of[items[row, slot]] = 0


@compiled
def _alike(history: Ints, weight: Floats, postings: tuple[Longs, Ints, Floats], space: Any, out: tuple[Ints, Floats]) -> int:
    """References by their likeness to one history [H], best first into out; returns how many.

    Most references share a title with a history: looking through all of them costs less than remembering which.
    """
    offsets, whose, worth = postings
    likeness, n = space[0], len(space[0])
    likeness[:] = 0
    for place in np.flatnonzero(history >= 0):
        times = weight[place]
        for at in range(offsets[history[place]], offsets[history[place] + 1]):
            likeness[whose[at]] += worth[at] * times
    space[1][0].ravel()[:] = likeness > 0
    return best_of(space, n, out)


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
    longest = np.max(begin[1:] - begin[:-1]) if len(begin) > 1 else 0
    by_reference, by_title = workspace(len(begin) - 1), workspace(min(n, n_similar * longest) + 1)
    similar, likeness = np.empty(n_similar, np.int32), np.empty(n_similar, np.float32)
    total = np.zeros(n, np.float32)
    for row in range(len(asked[0])):
        n_touched = 0
        for rank in range(_alike(asked[0][row], asked[1][row], postings, by_reference, (similar, likeness))):
            for at in range(begin[similar[rank]], begin[similar[rank] + 1]):
                if titles[at] < n:
                    n_touched = _add(total, by_title[2], n_touched, titles[at], likeness[rank])
        _best_touched(total, n_touched, eligible[row], by_title, (out[0][row], out[1][row]))


@compiled
def merge(wide: Ints, score: Floats, seed: Ints, n_items: int, merged: tuple[Ints, Floats, Ints, Ints]) -> int:
    """Union in quota rounds of proposals [B, depth, sources] (-1 where there is none); returns the width that is used.

    merged = (items [B, K] of -1, scores [B, K, sources] of NaN, ranks [B, K, sources] of 0, seeds [B, K] of -1). A title that
    comes again fills in the columns of its sources; its seed is the first that is not -1.
    """
    items, scores, ranks, seeds = merged
    slot_of = np.zeros(n_items, np.int32)  # counted from one
    width = 0
    for row in range(len(wide)):
        size = 0
        for rank in range(wide.shape[1]):
            for source in range(wide.shape[2]):
                item = wide[row, rank, source]
                if item < 0:
                    continue
                slot = slot_of[item] - 1
                if slot < 0:
                    if size == items.shape[1]:
                        continue
                    slot = size
                    items[row, slot] = item
                    size += 1
                    slot_of[item] = size
                scores[row, slot, source] = score[row, rank, source]
                ranks[row, slot, source] = rank + 1
                if seeds[row, slot] < 0:
                    seeds[row, slot] = seed[row, rank, source]
        for slot in range(size):
            slot_of[items[row, slot]] = 0
        width = max(width, size)
    return width

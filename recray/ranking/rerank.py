"""Greedy choices of a list for more than its scores: unlike titles (MMR, DPP) or the viewer's mix of genres (calibration).

Each kernel goes over the requests one by one and chooses among the `pool` * n best candidates of a list of n: further down
nothing is worth showing. Scores are scaled to 0..1 within that pool. `weight` (0..1) is what the score gives up.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from recray.features.compiled import compiled, held, inner_product
from recray.features.items import Items
from recray.schema import Floats, Ints, Longs
from recray.settings import SlateSettings

_SMOOTHING: Final = np.float32(0.01)
"""Share of the watched distribution mixed into the shown one, so that what is not shown costs a finite amount [Steck2018]."""
_LEAST: Final = np.float32(1e-6)
"""A title less than this, squared, from the span of what was taken adds nothing: float32 tells no smaller distance."""

About: TypeAlias = tuple[Ints, Floats, Floats]
"""Title numbers [B, K]; what titles are [n_items, dim]; what viewers are [B, dim], of no width where the kernel needs none."""


def rerank(
    order: Longs, scores: Floats, numbers: Ints, n_shown: Longs, history: Ints, how: tuple[Items, SlateSettings]
) -> Longs:
    """Places in `order` [B, K] of the chosen [B, n], the first n_shown[b] of each row; ties go to what is earlier in `order`.

    `history` [B, H] are the titles each viewer watched, NO_ITEM where there is none. Calibration leaves the order as it is
    for a viewer who watched nothing that has a genre.
    """
    items, settings = how
    chosen = np.zeros((len(order), int(n_shown.max(initial=0))), np.int64)
    titles = held(numbers, np.int32)
    if settings.diversity_by == "calibration":
        about = titles, held(items.genre_shares, np.float32), _watched_genres(history, items)
    else:
        about = titles, held(items.content, np.float32), np.empty((len(order), 0), np.float32)
    choose, pool = _KERNELS[settings.diversity_by]
    choose(order, held(scores, np.float32), about, n_shown, (np.float32(settings.diversity), pool), chosen)
    return chosen


def _watched_genres(history: Ints, items: Items) -> Floats:
    """Distribution over genres [B, n_genres] float32 of what was watched; zeros where nothing tells."""
    known = (history >= 0) & (history < items.n)
    share = np.zeros((len(history), items.genre_shares.shape[1]), np.float32)
    for row in range(len(history)):  # row by row: a sum must not depend on the batch that it is taken in
        share[row] = items.genre_shares[history[row][known[row]]].sum(axis=0)
    return held(share / np.maximum(share.sum(axis=1, keepdims=True), np.float32(1e-9)), np.float32)


@compiled
def _pool(order: Any, scores: Any, most: int, worth: Any) -> int:
    """Scores of the first candidates of one request scaled to 0..1 into `worth`; returns how many there are, at most `most`."""
    size = 0
    while size < min(most, order.shape[0]) and scores[order[size]] > -np.inf:
        size += 1
    low, high = scores[order[max(size - 1, 0)]], scores[order[0]]
    for place in range(size):
        worth[place] = (scores[order[place]] - low) / max(high - low, np.float32(1e-12))
    return size


@compiled
def _mmr(order: Longs, scores: Floats, about: About, n_shown: Longs, how: tuple[Any, int], chosen: Longs) -> None:
    """Maximal marginal relevance [Carbonell1998]: the score less the cosine to the nearest title taken."""
    numbers, content, _ = about
    weight, pool = how
    worth = np.empty(pool * chosen.shape[1] + 1, np.float32)
    for row in range(len(order)):
        size = _pool(order[row], scores[row], pool * n_shown[row], worth)
        title = numbers[row][order[row, :size]]
        for place in range(size):
            worth[place] *= np.float32(1) - weight
        beside = worth[:size].copy()
        for position in range(min(n_shown[row], size)):
            best = np.argmax(beside)
            chosen[row, position] = best
            for place in range(size):
                alike = inner_product(content[title[best]], content[title[place]])
                marginal = worth[place] - weight * alike
                # The first is taken for its score alone; then the nearest of the taken counts, where worth is least.
                beside[place] = marginal if position == 0 else min(beside[place], marginal)
            for taken in range(position + 1):
                beside[chosen[row, taken]] = -np.inf


@compiled
def _dpp(order: Longs, scores: Floats, about: About, n_shown: Longs, how: tuple[Any, int], chosen: Longs) -> None:
    """Greedy likeliest set of a determinantal point process [Chen2018]: each step adds most to the log determinant.

    The kernel is Diag(e^(a r)) S Diag(e^(a r)), S the cosines, r the scaled scores, a = (1 - weight) / (2 weight). What was
    chosen is a set, and shown by score.
    """
    numbers, content, _ = about
    weight, pool = how
    n = chosen.shape[1]
    worth = np.empty(pool * n + 1, np.float32)
    factor, apart = np.empty((pool * n + 1, n), np.float32), np.empty(pool * n + 1, np.float32)
    for row in range(len(order)):
        size = _pool(order[row], scores[row], pool * n_shown[row], worth)
        title = numbers[row][order[row, :size]]
        for place in range(size):
            worth[place] *= (np.float32(1) - weight) / weight
            apart[place] = np.float32(1)
        for position in range(min(n_shown[row], size)):
            best, most = -1, np.float32(-np.inf)
            for place in range(size):
                gain = worth[place] + np.log(max(apart[place], _LEAST))
                if gain > most:
                    best, most = place, gain
            chosen[row, position] = best
            root = np.sqrt(max(apart[best], _LEAST))
            for place in range(size):
                alike = inner_product(content[title[best]], content[title[place]])
                step = (alike - inner_product(factor[best, :position], factor[place, :position])) / root
                factor[place, position] = step
                apart[place] -= step * step
            worth[best] = -np.inf
        n_taken = min(n_shown[row], size)
        chosen[row, :n_taken] = np.sort(chosen[row, :n_taken])


@compiled
def _calibrated(order: Longs, scores: Floats, about: About, n_shown: Longs, how: tuple[Any, int], chosen: Longs) -> None:
    """Scores less the divergence of the genres of the list from those watched [Steck2018].

    Departs from the paper in that a list is measured at its final length from the first title on, and that what was chosen is
    shown by score: the genres of a list do not depend on its order, and its first places are worth most.
    """
    numbers, shares, taste = about
    weight, pool = how
    worth, nearer = np.empty(pool * chosen.shape[1] + 1, np.float32), np.empty(pool * chosen.shape[1] + 1, np.float32)
    for row in range(len(order)):
        size = _pool(order[row], scores[row], pool * n_shown[row], worth)
        title = numbers[row][order[row, :size]]
        nearer[:size] = np.inf
        shown = np.zeros(shares.shape[1], np.float32)
        n = min(n_shown[row], size)
        for position in range(n):
            best, most = -1, np.float32(-np.inf)
            for place in range(size):
                # What a title adds only falls as others are taken: what it added last is a bound that spares most of the work.
                if worth[place] > -np.inf and (np.float32(1) - weight) * worth[place] + weight * nearer[place] > most:
                    nearer[place] = _nearer(taste[row], shown, shares[title[place]], np.float32(n))
                    gain = (np.float32(1) - weight) * worth[place] + weight * nearer[place]
                    if gain > most:
                        best, most = place, gain
            chosen[row, position] = best
            shown += shares[title[best]]
            worth[best] = -np.inf
        chosen[row, :n] = np.sort(chosen[row, :n])


@compiled
def _nearer(taste: Any, shown: Any, own: Any, n: Any) -> Any:
    """How much of its divergence from the taste a list of n titles loses by one title's own genres; 0 without a taste."""
    total = np.float32(0)
    for genre in range(len(taste)):
        if taste[genre] > 0 and own[genre] > 0:
            floor = _SMOOTHING * taste[genre] * n / (np.float32(1) - _SMOOTHING)
            total += taste[genre] * np.log((shown[genre] + own[genre] + floor) / (shown[genre] + floor))
    return total


_KERNELS: Final[dict[str, tuple[Callable[..., None], int]]] = {
    "mmr": (_mmr, 3),
    "dpp": (_dpp, 3),
    "calibration": (_calibrated, 6),
}
"""Kernels and their pools, which are candidates per place: genres that are missing lie further down than unlike titles."""

"""Greedy choices of a list for more than its scores: unlike titles (MMR, DPP) or the viewer's mix of genres (calibration).

Each kernel goes over the requests one by one and chooses among `pool` * n candidates of a list of n: the best, for further
down nothing is worth showing, and for calibration what is wanted of each genre. `weight` (0..1) is what the score gives up.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from recray.features.compiled import compiled, held, inner_product
from recray.features.items import Items
from recray.ranking.calibration import calibrated
from recray.schema import Floats, Ints, Longs
from recray.settings import SlateSettings

_LEAST: Final = np.float32(1e-6)
"""A title less than this, squared, from the span of what was taken adds nothing: float32 tells no smaller distance."""

About: TypeAlias = tuple[Ints, Floats, Floats]
"""Title numbers [B, K]; what titles are [n_items, dim]; what viewers are [B, dim], of no width where the kernel needs none."""


def rerank(order: Longs, scores: Floats, numbers: Ints, n_shown: Longs, mix: Floats, how: tuple[Items, SlateSettings]) -> Longs:
    """Places in `order` [B, K] of the chosen [B, n], the first n_shown[b] of each row; ties go to what is earlier in `order`.

    `mix` [B, n_genres] is each viewer's own, zeros where it is not known: calibration leaves the order as it is there.
    """
    items, settings = how
    chosen = np.zeros((len(order), int(n_shown.max(initial=0))), np.int64)
    titles = held(numbers, np.int32)
    if settings.diversity_by == "calibration":
        about = titles, held(items.genre_shares, np.float32), held(mix, np.float32)
    else:
        about = titles, held(items.content, np.float32), np.empty((len(order), 0), np.float32)
    choose, pool = _KERNELS[settings.diversity_by]
    choose(order, held(scores, np.float32), about, n_shown, (np.float32(settings.diversity), pool), chosen)
    return chosen


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


_KERNELS: Final[dict[str, tuple[Callable[..., None], int]]] = {
    "mmr": (_mmr, 3),
    "dpp": (_dpp, 3),
    "calibration": (calibrated, 6),
}
"""Kernels and their pools, which are candidates per place: genres that are missing lie further down than unlike titles."""

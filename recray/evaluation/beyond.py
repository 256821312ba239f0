"""What accuracy does not see: coverage, concentration, diversity, novelty, serendipity and calibration of ranked lists.

Ranked lists are [n, k] int32 title numbers padded with NO_ITEM. Padding never counts; a list without titles gives NaN.
"""

import numpy as np

from recray.evaluation.metrics import Relevant, hits_at
from recray.experiments.interval import Doubles
from recray.schema import Bools, Floats, Ints, Longs


def _shown(ranked: Ints, n_items: int) -> Longs:
    return np.bincount(ranked[ranked >= 0], minlength=n_items)


def _mean_over(values: Doubles, present: Bools) -> Doubles:
    with np.errstate(invalid="ignore"):
        return np.where(present, values, 0).sum(axis=1) / present.sum(axis=1)


def coverage_at(ranked: Ints, n_items: int, k: int) -> float:
    """Share of the catalogue that is among the first k places of at least one list.

    >>> coverage_at(np.array([[0, 1], [0, 3]], np.int32), 4, 2)
    0.75
    """
    return float(np.count_nonzero(_shown(ranked[:, :k], n_items)) / n_items)


def gini(ranked: Ints, n_items: int) -> float:
    """Inequality of how often titles are shown, from 0 (all equally) to 1 - 1/n_items (one title only).

    Over counts c sorted ascending with ranks i from 1: sum (2i - n - 1) c_i / (n sum c). NaN when nothing is shown.

    Counts 0, 1, 3 of three titles: (-2*0 + 0*1 + 2*3) / (3*4) = 0.5.

    >>> gini(np.array([[2, 1], [2, -1], [2, -1]], np.int32), 3)
    0.5
    """
    counts = np.sort(_shown(ranked, n_items))
    if counts[-1] == 0:
        return float("nan")
    return float((2 * np.arange(1, n_items + 1) - n_items - 1) @ counts / (n_items * counts.sum()))


def effective_catalogue_size(ranked: Ints, n_items: int) -> float:
    """Number of titles that the impressions are really spread over, 1 to n_items [GomezUribe2015].

    Over shares p sorted descending with ranks i from 1: 2 sum(i p_i) - 1. NaN when nothing is shown.

    Shares 3/4, 1/4, 0: 2 (3/4 + 2/4) - 1 = 1.5.

    >>> effective_catalogue_size(np.array([[2, 1], [2, -1], [2, -1]], np.int32), 3)
    1.5
    """
    counts = np.sort(_shown(ranked, n_items))[::-1]
    if counts[0] == 0:
        return float("nan")
    return float(2 * (np.arange(1, n_items + 1) @ counts) / counts.sum() - 1)


def intra_list_diversity(ranked: Ints, content: Floats) -> Doubles:
    """Mean of 1 - cosine over the pairs of titles of each list [n] float64 [Ziegler2005]; NaN with fewer than two titles.

    `content` is [n_items, dim]; rows need not be unit length, and a zero row is at distance 1 from everything.

    Two equal titles and one at a right angle: pair distances 0, 1, 1.

    >>> content = np.array([[1, 0], [2, 0], [0, 1]], np.float32)
    >>> intra_list_diversity(np.array([[0, 1, 2]], np.int32), content).round(4).tolist()
    [0.6667]
    """
    norm = np.linalg.norm(content, axis=1, keepdims=True)
    unit = np.divide(content, norm, out=np.zeros(content.shape, np.float64), where=norm > 0)
    known = ranked >= 0
    # The cosines of all pairs sum to (|sum of unit vectors|^2 - sum of |unit vectors|^2) / 2: no [n, k, k] array.
    vectors = np.where(known[:, :, None], unit[np.maximum(ranked, 0)], 0)
    cosines = (np.sum(vectors.sum(axis=1) ** 2, axis=1) - np.sum(vectors**2, axis=(1, 2))) / 2
    n = known.sum(axis=1)
    pairs = n * (n - 1) / 2
    return np.where(pairs > 0, 1 - cosines / np.maximum(pairs, 1), np.nan)


def novelty(ranked: Ints, plays: Longs) -> Doubles:
    """Mean of -log2 of the titles' shares of all plays [n] float64, in bits [Zhou2010].

    `plays` [n_items] counts past plays. Each count is raised by one, so that a title that was never played is finite.

    Shares (3 + 1) / 8 and (0 + 1) / 8: (1 + 3) / 2 bits.

    >>> novelty(np.array([[0, 1]], np.int32), np.array([3, 0, 2])).tolist()
    [2.0]
    """
    bits = -np.log2((plays + 1.0) / (plays.sum() + len(plays)))
    return _mean_over(bits[np.maximum(ranked, 0)], ranked >= 0)


def serendipity_at(ranked: Ints, relevant: Relevant, obvious: Ints, k: int) -> Doubles:
    """Share of the first k places that are relevant and not in the obvious list [n] float64 [Ge2010].

    `obvious` [n, m] is what a primitive recommender shows the same requests, as a rule the most popular titles.

    >>> ranked, obvious = np.array([[1, 2, 3, 4]], np.int32), np.array([[1, 9]], np.int32)
    >>> serendipity_at(ranked, [[1, 3]], obvious, 4).tolist()
    [0.25]
    """
    hits, n_relevant = hits_at(ranked, relevant, k)
    expected, _ = hits_at(ranked, [line[line >= 0] for line in obvious], k)
    return np.where(n_relevant > 0, (hits & ~expected).sum(axis=1) / k, np.nan)


def genre_shares(items: Ints, genres: Bools, weights: Floats | None = None) -> Doubles:
    """Distribution over genres [n, n_genres] float64 of lists of titles [n, k], rows sum to 1 [Steck2018].

    Each title spreads its weight (default 1; `weights` [n, k]) evenly over its genres (`genres` [n_items, n_genres]).
    Padding and titles without genres count nothing; a list without any genre is a row of zeros.

    >>> genres = np.array([[True, True], [True, False]])
    >>> genre_shares(np.array([[0, 1]], np.int32), genres).tolist()
    [[0.75, 0.25]]
    """
    per_title = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1)
    weight = (items >= 0) * (1.0 if weights is None else weights)
    mass = np.einsum("nk,nkg->ng", weight, per_title[np.maximum(items, 0)])
    return mass / np.maximum(mass.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def miscalibration(history: Doubles, shown: Doubles, alpha: float = 0.01) -> Doubles:
    """Divergence C_KL of the shown genres from the watched ones [n] float64, 0 when equal [Steck2018].

    Both are rows of `genre_shares`. Sum over genres of p ln(p / q'), q' = (1 - alpha) q + alpha p, p the history's share
    and q the list's. The natural logarithm bounds it by -ln(alpha). NaN when the history or the list has no genre.

    History half and half, list all of the first genre: 0.5 ln(0.5 / 0.995) + 0.5 ln(0.5 / 0.005) = 1.9585.

    >>> miscalibration(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])).round(4).tolist()
    [1.9585]
    """
    mixed = (1 - alpha) * shown + alpha * history
    ratio = np.divide(history, mixed, out=np.ones_like(mixed), where=history > 0)
    known = (history.sum(axis=1) > 0) & (shown.sum(axis=1) > 0)
    return np.where(known, np.sum(history * np.log(ratio), axis=1), np.nan)

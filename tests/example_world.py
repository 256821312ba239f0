"""A small synthetic world of ranker examples with a planted signal that no single column holds."""

import numpy as np

from recray.features.items import Items
from recray.features.vectorize import RankerInput
from recray.features.views import column_names, width
from recray.ranking.ranker import Examples
from recray.schema import NO_ITEM, Objective

N_TITLES = 120
N_HISTORY = 12
SOURCE_COLUMNS = [i for i, name in enumerate(column_names("match")) if name.startswith("source_scores")]
_N_CLUSTERS = 6


def items(n: int = N_TITLES, seed: int = 5) -> Items:
    """A catalogue whose title number modulo 6 is its cluster: genre and content vector follow it."""
    draws = np.random.default_rng(seed)
    cluster = np.arange(n) % _N_CLUSTERS
    content = np.eye(_N_CLUSTERS, 8)[cluster] + 0.1 * draws.normal(size=(n, 8))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    plays = draws.integers(1, 500, size=(n, 3))
    return Items(
        content_ids=[f"t{i}" for i in range(n)],
        names=[f"Title {i}" for i in range(n)],
        kind=np.zeros(n, np.uint8),
        genre_names=[f"g{i}" for i in range(_N_CLUSTERS)],
        genres=np.eye(_N_CLUSTERS, dtype=np.bool_)[cluster],
        release_at_s=np.full(n, 1_000_000_000, np.int64),
        added_at_s=np.full(n, 1_100_000_000, np.int64),
        maturity=np.zeros(n, np.int16),
        language_names=["en"],
        language=np.zeros(n, np.int16),
        n_languages=np.ones(n, np.int16),
        priority=np.ones(n, np.float32),
        duration_s=np.full(n, 6_000, np.float32),
        content=content.astype(np.float32),
        plays=plays.astype(np.float32),
        completion=draws.uniform(0.2, 0.9, n).astype(np.float32),
        rating=draws.uniform(2, 5, n).astype(np.float32),
        as_of_s=1_300_000_000,
    )


def examples(n: int, seed: int, *, n_candidates: int = 24, n_titles: int = N_TITLES) -> Examples:
    """N requests; what is started follows two source scores, a match of clusters, and the cluster of the history.

    About a tenth of the places are padding. Completion is known for started titles only.
    """
    draws = np.random.default_rng(seed)
    items_ = np.stack([draws.permutation(n_titles)[:n_candidates] for _ in range(n)]).astype(np.int32)
    n_padding = draws.integers(0, n_candidates // 5 + 1, n)
    items_[np.arange(n_candidates) >= n_candidates - n_padding[:, None]] = NO_ITEM
    liked = draws.integers(0, _N_CLUSTERS, n)
    history = (draws.integers(0, n_titles // _N_CLUSTERS, (n, N_HISTORY)) * _N_CLUSTERS + liked[:, None]).astype(np.int32)
    history[np.arange(N_HISTORY) >= draws.integers(3, N_HISTORY + 1, n)[:, None]] = NO_ITEM
    user = draws.normal(size=(n, width("user") + width("context"))).astype(np.float32)
    match = draws.uniform(size=(n, n_candidates, width("match"))).astype(np.float32)
    same = items_ % _N_CLUSTERS == liked[:, None]
    match[:, :, -1] = same + 0.5 * draws.normal(size=same.shape)
    worth = (
        3 * match[:, :, SOURCE_COLUMNS[0]] + 3 * match[:, :, SOURCE_COLUMNS[1]] + 2 * same + 0.7 * draws.gumbel(size=same.shape)
    )
    worth[items_ < 0] = -np.inf
    started = worth >= np.sort(worth, axis=1)[:, -2:-1]
    labels = np.full((n, n_candidates, len(Objective)), np.nan, np.float32)
    labels[:, :, Objective.START] = started
    labels[:, :, Objective.DISLIKE] = ~same & (draws.uniform(size=same.shape) < 0.2)
    finished = (same | (draws.uniform(size=same.shape) < 0.3)).astype(np.float32)
    labels[:, :, Objective.COMPLETION] = np.where(started, finished, np.nan)
    labels[:, :, Objective.WATCH_TIME] = np.where(started, 0.2 + 0.6 * finished, np.nan)
    labels[items_ < 0], match[items_ < 0] = np.nan, 0
    at_s = np.sort(draws.integers(1_200_000_000, 1_300_000_000, n))
    weight = np.ones(items_.shape, np.float32)
    return Examples(RankerInput(user, match, items_, history), labels, at_s, weight)

"""Match feature values: how one profile and one candidate fit; [B, K, width] float32. Declared in `views`."""

import numpy as np

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.user import genre_preference, kind_share, last_genre, openness, taste
from recray.schema import Candidates, Floats, Requests


def source_scores(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """Each source's score over its best of the request [B, K, n_sources]; 0 where the source did not propose the item."""
    proposed = candidates.ranks > 0
    score = np.where(proposed, candidates.scores, 0)
    best = np.max(np.abs(score), axis=1, keepdims=True, initial=0)
    return (score / np.maximum(best, 1e-6)).astype(np.float32)


def source_ranks(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """1 / log2(1 + rank) in each source [B, K, n_sources]; 0 where the source did not propose the item."""
    discount = 1 / np.log2(1 + np.maximum(candidates.ranks, 1))
    return np.where(candidates.ranks > 0, discount, 0).astype(np.float32)


def affinity(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """Fit of genres, of the last title's genres, of content vector, kind, original language, and of rarity [B, K, 6]."""
    numbers = np.maximum(candidates.items, 0)
    genres = items.genre_table[numbers]
    words = np.array([items.language_names.index(s.language) if s.language in items.language_names else -2
                      for s in profiles.settings])  # fmt: skip
    fits = (
        np.einsum("bg,bkg->bk", genre_preference(profiles, items, requests.now_s), genres),
        np.einsum("bg,bkg->bk", last_genre(profiles, items, requests.now_s), genres),
        np.einsum("bd,bkd->bk", taste(profiles, items, requests.now_s), items.content[numbers]),
        np.take_along_axis(kind_share(profiles, items), items.kind[numbers].astype(np.int64), axis=1),
        items.language[numbers] == words[:, None],
        (1 - items.log_popularity[numbers]) * openness(profiles, items, requests.now_s),
    )
    return np.stack([fit.astype(np.float32) for fit in fits], axis=2)

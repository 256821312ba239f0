"""Match feature values: how one profile and one candidate fit; [B, K, width] float32. Declared in `views`."""

import numpy as np

from recray.features.compiled import compiled, held, inner_product
from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.user import genre_preference, kind_share, last_genre, openness, taste
from recray.schema import Candidates, Floats, Ints, Longs, Requests


def source_scores(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """Each source's score over its best of the request [B, K, n_sources]; 0 where the source did not propose the item."""
    shares = np.zeros(candidates.scores.shape, np.float32)
    _over_best(held(candidates.scores, np.float32), held(candidates.ranks, np.int32), shares)
    return shares


@compiled
def _over_best(scores: Floats, ranks: Ints, shares: Floats) -> None:
    n_requests, n_candidates, n_sources = scores.shape
    best = np.empty(n_sources, np.float32)
    for row in range(n_requests):
        best[:] = 1e-6
        for place in range(n_candidates):
            for source in range(n_sources):
                if ranks[row, place, source] > 0:
                    best[source] = max(best[source], abs(scores[row, place, source]))
        for place in range(n_candidates):
            for source in range(n_sources):
                if ranks[row, place, source] > 0:
                    shares[row, place, source] = scores[row, place, source] / best[source]


def source_ranks(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """1 / log2(1 + rank) in each source [B, K, n_sources]; 0 where the source did not propose the item."""
    worst = int(candidates.ranks.max(initial=0))
    discount = np.concatenate(([0.0], 1 / np.log2(1 + np.arange(1, worst + 1)))).astype(np.float32)
    return discount[candidates.ranks]


def affinity(requests: Requests, profiles: Profiles, items: Items, candidates: Candidates) -> Floats:
    """Fit of genres, of the last title's genres, of content vector, kind, original language, and of rarity [B, K, 6]."""
    words = np.array([items.language_names.index(s.language) if s.language in items.language_names else -2
                      for s in profiles.settings], np.int64)  # fmt: skip
    fits = np.zeros((*candidates.items.shape, 6), np.float32)
    mine = (
        held(genre_preference(profiles, items, requests.now_s), np.float32),
        held(last_genre(profiles, items, requests.now_s), np.float32),
        held(taste(profiles, items, requests.now_s), np.float32),
        held(kind_share(profiles, items), np.float32),
        words,
        held(openness(profiles, items, requests.now_s)[:, 0], np.float32),
    )
    theirs = (
        held(items.genre_table, np.float32),
        held(items.content, np.float32),
        held(items.kind, np.uint8),
        held(items.language, np.int32),
        held(items.log_popularity, np.float32),
    )
    _fits(held(candidates.items, np.int32), mine, theirs, fits)
    return fits


@compiled
def _fits(
    numbers: Ints,
    mine: tuple[Floats, Floats, Floats, Floats, Longs, Floats],
    theirs: tuple[Floats, Floats, Ints, Ints, Floats],
    fits: Floats,
) -> None:
    liked, last, taste_of, kinds, word, open_to = mine
    genres, content, kind, language, known = theirs
    for row in range(len(numbers)):
        for place in range(numbers.shape[1]):
            item = numbers[row, place]
            if item >= 0:
                fits[row, place, 0] = inner_product(liked[row], genres[item])
                fits[row, place, 1] = inner_product(last[row], genres[item])
                fits[row, place, 2] = inner_product(taste_of[row], content[item])
                fits[row, place, 3] = kinds[row, kind[item]]
                fits[row, place, 4] = language[item] == word[row]
                fits[row, place, 5] = (1 - known[item]) * open_to[row]

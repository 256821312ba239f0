"""Why a title is shown, in words a viewer understands, and in numbers an engineer can check."""

from collections.abc import Container, Mapping, Sequence
from typing import Final

import numpy as np

from recray.features.items import Items
from recray.features.views import SOURCES
from recray.schema import NO_ITEM, Candidates, Ints, Longs

_WATCHED: Final = "Because you watched {seed}"
_LIKED: Final = "Because you liked {seed}"
_WORDS: Final[Mapping[str, str]] = {
    "popular": "Popular with viewers",
    "trending": "Trending now",
    "new_releases": "New release",
    "cowatch": "Often watched next by viewers like you",
    "item_based": "Goes with what you watched or liked",
    "ease": "Goes with all that you watched or liked",
    "neighbours": "Viewers with your taste watched it",
    "factors": "Fits your taste",
    "content": "Fits the genres you picked",
    "sequence": "Fits what you watched or liked last",
    "resume": "Continue watching",
}
_SEEDED_SOURCES: Final = ("cowatch", "item_based", "ease", "content")


_WORST: Final = np.iinfo(np.int32).max


def leading_sources(candidates: Candidates, row: int, places: Longs) -> list[str]:
    """The source that ranked each candidate best; ties by declaration order. What no source proposed is "fallback"."""
    ranks = candidates.ranks[row, places]
    best = np.where(ranks > 0, ranks, _WORST).argmin(axis=1)
    return [SOURCES[source] if any_ else "fallback" for source, any_ in zip(best.tolist(), ranks.any(axis=1), strict=True)]


def because(seed: int, liked: Container[int], names: Sequence[str]) -> str:
    """The sentence that names a title as the evidence; `liked` holds those that were liked and never started."""
    return (_LIKED if seed in liked else _WATCHED).format(seed=names[seed])


def reasons_of(sources: Sequence[str], seeds: Ints, liked: Container[int], names: Sequence[str]) -> list[str]:
    """One sentence for each candidate, true of its request: its leading source and, if there is one, its seed title."""
    return [
        because(seed, liked, names) if seed != NO_ITEM and source in _SEEDED_SOURCES else _WORDS.get(source, _WORDS["popular"])
        for source, seed in zip(sources, seeds.tolist(), strict=True)
    ]


def evidence(candidates: Candidates, row: int, place: int, items: Items) -> dict[str, object]:
    """Every source that proposed a candidate with its score and rank, and the seed title."""
    ranks, scores = candidates.ranks[row, place], candidates.scores[row, place]
    seed = int(candidates.seeds[row, place])
    return {
        "sources": [
            {"source": SOURCES[s], "score": round(float(scores[s]), 6), "rank": int(ranks[s])}
            for s in np.flatnonzero(ranks > 0)
        ],
        "seed": None if seed == NO_ITEM else {"content_id": items.content_ids[seed], "name": items.names[seed]},
    }

"""Why a title is shown, in words a viewer understands, and in numbers an engineer can check."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from recray.features.items import Items
from recray.features.views import SOURCES
from recray.schema import NO_ITEM, Candidates

_SEEDED: Final = "Because you watched {seed}"
_WORDS: Final[Mapping[str, str]] = {
    "popular": "Popular with viewers",
    "trending": "Trending now",
    "new_releases": "New release",
    "cowatch": "Often watched next by viewers like you",
    "item_based": "Goes with what you watched",
    "neighbours": "Viewers with your taste watched it",
    "factors": "Fits your taste",
    "content": "Similar to what you watched",
    "sequence": "Fits what you watched last",
    "resume": "Continue watching",
}
_SEEDED_SOURCES: Final = ("cowatch", "item_based", "content")


def leading_source(candidates: Candidates, row: int, place: int) -> str:
    """The source that ranked a candidate best; ties by declaration order."""
    ranks = candidates.ranks[row, place]
    proposed = np.flatnonzero(ranks > 0)
    return SOURCES[proposed[np.argmin(ranks[proposed])]] if proposed.size else "fallback"


def reason(candidates: Candidates, row: int, place: int, name_of: Callable[[int], str]) -> str:
    """One sentence for a candidate, true of this request: its leading source and, if there is one, its seed title."""
    source = leading_source(candidates, row, place)
    seed = int(candidates.seeds[row, place])
    if source in _SEEDED_SOURCES and seed != NO_ITEM:
        return _SEEDED.format(seed=name_of(seed))
    return _WORDS.get(source, "Popular with viewers")


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

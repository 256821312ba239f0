"""What a candidate source is, and how several become one set of candidates."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.views import SOURCES
from recray.schema import NO_ITEM, Bools, Candidates, Floats, Ints, Requests, Retrieved, Tensors


@dataclass(slots=True)
class Ask:
    """What sources are asked with: a batch of B requests, their profiles, and which titles may be proposed.

    `eligible` [B, n_items] bool already holds every filter (licence, maturity, kind, category, hidden, watched). Only
    `resume` looks past `watched`, through `resumable` (the same mask without the watched filter).
    """

    requests: Requests
    profiles: Profiles
    items: Items
    eligible: Bools
    resumable: Bools


class CandidateSource(Protocol):
    """One producer of candidates, fitted or rule-based, restorable from tensors without pickle.

    `retrieve` is exact, deterministic (ties by lower title number), proposes only eligible titles, at most k per request,
    and answers an unknown profile or an empty history with nothing rather than an error.
    """

    name: ClassVar[str]

    def retrieve(self, ask: Ask, k: int) -> Retrieved: ...

    def tensors(self) -> Tensors:
        """Arrays that restore the source."""
        ...

    def config(self) -> dict[str, Any]:
        """JSON values that restore the source."""
        ...

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self: ...


def best(scores: Floats, eligible: Bools, k: int, seeds: Ints | None = None) -> Retrieved:
    """The k best eligible titles of dense scores [B, n_items], best first, ties by lower title number.

    A score of -inf or NaN, like an ineligible title, is never proposed. `seeds` [B, n_items] names each title's evidence.
    """
    masked = np.where(eligible & (scores == scores), scores, -np.inf).astype(np.float32)
    k = min(k, masked.shape[1])
    # Ties at the border are settled by title number through a stable sort of the part that reaches the border value.
    border = -np.partition(-masked, k - 1, axis=1)[:, k - 1 : k]
    items = np.full((len(masked), k), NO_ITEM, np.int32)
    found = np.full((len(masked), k), -np.inf, np.float32)
    for row, line in enumerate(masked):
        at = np.flatnonzero((line >= border[row, 0]) & (line > -np.inf))
        at = at[np.argsort(-line[at], kind="stable")][:k]
        items[row, : at.size], found[row, : at.size] = at, line[at]
    evidence = np.full(items.shape, NO_ITEM, np.int32)
    if seeds is not None:
        evidence = np.where(items >= 0, np.take_along_axis(seeds, np.maximum(items, 0), axis=1), NO_ITEM)
    return Retrieved(items, found, evidence.astype(np.int32))


def union(proposals: dict[str, Retrieved], n_candidates: int) -> Candidates:
    """Candidates of every source without duplicates, in quota rounds: every source's first, then every second, ...

    At most `n_candidates` per request; a source that is missing from `proposals` (it failed) leaves its columns empty.
    Column s of scores and ranks belongs to `views.SOURCES[s]`.
    """
    n_requests = next(iter(proposals.values())).items.shape[0] if proposals else 0
    merged = [_merge_row(proposals, row, n_candidates) for row in range(n_requests)]
    width = max((len(items) for items, *_ in merged), default=0)
    items = np.full((n_requests, width), NO_ITEM, np.int32)
    seeds = np.full((n_requests, width), NO_ITEM, np.int32)
    scores = np.full((n_requests, width, len(SOURCES)), np.nan, np.float32)
    ranks = np.zeros((n_requests, width, len(SOURCES)), np.int32)
    for row, (row_items, row_seeds, row_scores, row_ranks) in enumerate(merged):
        n = len(row_items)
        items[row, :n], seeds[row, :n], scores[row, :n], ranks[row, :n] = row_items, row_seeds, row_scores, row_ranks
    return Candidates(items, scores, ranks, seeds, SOURCES)


def _merge_row(proposals: dict[str, Retrieved], row: int, limit: int) -> tuple[Ints, Ints, Floats, Ints]:
    parts = [(SOURCES.index(name), got, np.flatnonzero(got.items[row] >= 0)) for name, got in proposals.items()]
    item = np.concatenate([got.items[row, at] for _, got, at in parts])
    rank = np.concatenate([np.arange(1, at.size + 1) for _, _, at in parts])
    column = np.concatenate([np.full(at.size, s) for s, _, at in parts])
    score = np.concatenate([got.scores[row, at] for _, got, at in parts])
    seed = np.concatenate([got.seeds[row, at] for _, got, at in parts])
    order = np.lexsort((column, rank))
    distinct, first, place = np.unique(item[order], return_index=True, return_inverse=True)
    kept = np.argsort(first, kind="stable")[:limit]
    position = np.full(distinct.size, -1)
    position[kept] = np.arange(kept.size)
    slot = position[place]
    inside = slot >= 0
    scores = np.full((kept.size, len(SOURCES)), np.nan, np.float32)
    ranks = np.zeros((kept.size, len(SOURCES)), np.int32)
    scores[slot[inside], column[order][inside]] = score[order][inside]
    ranks[slot[inside], column[order][inside]] = rank[order][inside]
    seeds = np.full(kept.size, NO_ITEM, np.int32)
    # Written worst first, so that the best-ranked source that has evidence is the one that stays.
    evident = np.flatnonzero(inside & (seed[order] >= 0))[::-1]
    seeds[slot[evident]] = seed[order][evident]
    return distinct[kept].astype(np.int32), seeds, scores, ranks

"""What a candidate source is, and how several become one set of candidates."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.views import SOURCES
from recray.schema import NO_ITEM, Bools, Candidates, Floats, Ints, Longs, Requests, Retrieved, Tensors


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
    Where one of the two knows fewer titles than the other, the titles beyond are not proposed. Width is min(k, n_items).
    """
    n_items = min(scores.shape[1], eligible.shape[1])
    scores, k = scores[:, :n_items], min(k, n_items)
    masked = np.where(eligible[:, :n_items] & ~np.isnan(scores), scores, np.float32(-np.inf)).astype(np.float32, copy=False)
    if not k:
        return nothing(len(masked))
    # Score and title number in one integer: every key differs, so one partition settles the ties at the border too.
    keys = (_descending(masked) << 32) | np.arange(n_items)
    keys = np.partition(keys, k - 1, axis=1)[:, :k]
    keys.sort(axis=1)
    items = (keys & 0xFFFFFFFF).astype(np.int32)
    found = np.take_along_axis(masked, items, axis=1)
    evidence = np.full(items.shape, NO_ITEM, np.int32) if seeds is None else np.take_along_axis(seeds, items, axis=1)
    absent = np.isneginf(found)
    items[absent] = NO_ITEM
    evidence[absent] = NO_ITEM
    return Retrieved(items, found, evidence)


def nothing(n_requests: int) -> Retrieved:
    """An answer without any candidate, of width 0."""
    none = np.empty((n_requests, 0), np.int32)
    return Retrieved(none, none.astype(np.float32), none)


def _descending(scores: Floats) -> Longs:
    """Integers that sort as the scores do from best to worst; both zeros give the same one."""
    bits = (scores + np.float32(0)).view(np.int32)
    return (~(bits ^ ((bits >> 31) & 0x7FFFFFFF))).astype(np.int64)


_BLOCK: Final = 8


def inner(vectors: Floats, table: Floats) -> Floats:
    """Inner products [B, n] float32 of request vectors [B, dim] and title vectors [n, dim], bit for bit as one by one.

    BLAS sums in another order for another number of rows, so every product is made on blocks of the same height.
    """
    scores = np.empty((len(vectors), len(table)), np.float32)
    block = np.zeros((_BLOCK, table.shape[1]), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        part = vectors[start : start + _BLOCK]
        block[: len(part)] = part
        scores[start : start + _BLOCK] = (block @ table.T)[: len(part)]
    return scores


def union(proposals: dict[str, Retrieved], n_candidates: int) -> Candidates:
    """Candidates of every source without duplicates, in quota rounds: every source's first, then every second, ...

    At most `n_candidates` per request; a source that is missing from `proposals` (it failed) leaves its columns empty.
    Column s of scores and ranks belongs to `views.SOURCES[s]`. A title's seed is that of the best-ranked source that has one.
    """
    got = sorted((SOURCES.index(name), retrieved) for name, retrieved in proposals.items())
    n_requests = len(got[0][1].items) if got else 0
    # [B, k, sources] read in order is quota order: no sort of candidates is needed.
    depth = max((retrieved.items.shape[1] for _, retrieved in got), default=0)
    wide = np.full((n_requests, depth, len(SOURCES)), NO_ITEM, np.int32)
    score = np.zeros(wide.shape, np.float32)
    seed = np.full(wide.shape, NO_ITEM, np.int32)
    for source, retrieved in got:
        at = slice(0, retrieved.items.shape[1])
        wide[:, at, source], score[:, at, source], seed[:, at, source] = retrieved.items, retrieved.scores, retrieved.seeds
    row, rank, column = (index.astype(np.int64) for index in np.nonzero(wide >= 0))
    proposed = wide[row, rank, column]
    _, first, title = np.unique(row << 32 | proposed, return_index=True, return_inverse=True)
    place = np.empty(first.size, np.int64)
    place[np.argsort(first)] = np.arange(first.size)
    starts = np.searchsorted(row[np.sort(first)], np.arange(n_requests))
    slot = place[title] - starts[row]
    inside = slot < n_candidates
    width = int(slot[inside].max(initial=-1)) + 1
    row, rank, column, slot, proposed = row[inside], rank[inside], column[inside], slot[inside], proposed[inside]
    merged = Candidates(
        items=np.full((n_requests, width), NO_ITEM, np.int32),
        scores=np.full((n_requests, width, len(SOURCES)), np.nan, np.float32),
        ranks=np.zeros((n_requests, width, len(SOURCES)), np.int32),
        seeds=np.full((n_requests, width), NO_ITEM, np.int32),
        sources=SOURCES,
    )
    merged.items[row, slot] = proposed
    merged.scores[row, slot, column] = score[row, rank, column]
    merged.ranks[row, slot, column] = rank + 1
    evidence = seed[row, rank, column]
    # Written worst first, so that the best-ranked source that has evidence is the one that stays.
    evident = np.flatnonzero(evidence >= 0)[::-1]
    merged.seeds[row[evident], slot[evident]] = evidence[evident]
    return merged

"""What a candidate source is, and how several become one set of candidates."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from recray.candidates import kernels
from recray.features.compiled import held
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
    Where one of the two knows fewer titles than the other, the titles beyond are not proposed. Width is min(k, n_items).
    """
    n_items = min(scores.shape[1], eligible.shape[1])
    if not min(k, n_items):
        return nothing(len(scores))
    items, found = room(len(scores), min(k, n_items))
    dense, allowed = held(scores[:, :n_items], np.float32), held(eligible[:, :n_items], np.bool_)
    kernels.top(dense, allowed, items, found)
    evidence = np.full(items.shape, NO_ITEM, np.int32) if seeds is None else np.take_along_axis(seeds, items, axis=1)
    evidence[items < 0] = NO_ITEM
    return Retrieved(items, found, evidence)


def room(n_requests: int, k: int) -> tuple[Ints, Floats]:
    """Padding that a kernel fills: items [B, k] of NO_ITEM, and scores [B, k] of -inf."""
    return np.full((n_requests, k), NO_ITEM, np.int32), np.full((n_requests, k), -np.inf, np.float32)


def filled(items: Ints, scores: Floats, seeds: Ints | None = None) -> Retrieved:
    """What a kernel left in such padding, as narrow as the longest answer."""
    width = int((items >= 0).sum(axis=1).max(initial=0))
    evidence = np.full(items.shape, NO_ITEM, np.int32) if seeds is None else seeds
    return Retrieved(items[:, :width], scores[:, :width], evidence[:, :width])


def nothing(n_requests: int) -> Retrieved:
    """An answer without any candidate, of width 0."""
    none = np.empty((n_requests, 0), np.int32)
    return Retrieved(none, none.astype(np.float32), none)


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
    room_for = min(n_candidates, depth * len(SOURCES))
    items = np.full((n_requests, room_for), NO_ITEM, np.int32)
    scores = np.full((n_requests, room_for, len(SOURCES)), np.nan, np.float32)
    ranks = np.zeros((n_requests, room_for, len(SOURCES)), np.int32)
    seeds = np.full((n_requests, room_for), NO_ITEM, np.int32)
    width = kernels.merge(wide, score, seed, int(wide.max(initial=NO_ITEM)) + 1, (items, scores, ranks, seeds))
    return Candidates(items[:, :width], scores[:, :width], ranks[:, :width], seeds[:, :width], SOURCES)

"""The requests of a track as candidate sources are asked them, and the ranks that their answers give the targets.

The profile of a request is laid out in the track's own order of equal times. A served profile state orders equal times by title
number; but for that, what is measured is the code that serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recray.candidates.source import Ask, CandidateSource
from recray.evaluation.protocol import Targets, seen
from recray.evaluation.tracks import Track
from recray.features import fold
from recray.features.fold import N_COUNTERS, N_RECENT
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.schema import NO_ITEM, Action, Ints, Longs, Page, ProfileKey, ProfileSettings, Requests, Words

DEPTH: Final = 200
"""Titles that a source is asked for; a target that is not among them has rank DEPTH + 1, so figures at k <= DEPTH are exact."""
TOP: Final = 10
_BATCH: Final = 256


@dataclass(slots=True, frozen=True)
class Ranked:
    """What a source answered to every request: `rank` [n] int64 of the target from 1, and the first titles [n, TOP] int32."""

    rank: Longs
    top: Ints


def rank(source: CandidateSource, track: Track, items: Items, keys: Sequence[ProfileKey]) -> Ranked:
    """Ask a source every request of a track; ties stand as the source breaks them, lists it cannot fill end in NO_ITEM."""
    words = packed(track.plays)
    found = Ranked(np.empty(len(track.targets), np.int64), np.empty((len(track.targets), TOP), np.int32))
    for start in range(0, len(track.targets), _BATCH):
        batch = np.arange(start, min(start + _BATCH, len(track.targets)))
        targets = track.targets.take(batch)
        answered = source.retrieve(ask(track, targets, words, items, keys), DEPTH).items
        wide = np.full((batch.size, DEPTH), NO_ITEM, np.int32)
        wide[:, : answered.shape[1]] = answered
        hit = wide == targets.item[:, None]
        found.rank[batch] = np.where(hit.any(axis=1), hit.argmax(axis=1), DEPTH) + 1
        found.top[batch] = wide[:, :TOP]
    return found


def ask(track: Track, targets: Targets, words: Words, items: Items, keys: Sequence[ProfileKey]) -> Ask:
    """A batch of a track's requests: homepage, of no region, at the moment of the target, for titles not in the history."""
    n = len(targets)
    requests = Requests(
        keys=[keys[profile] for profile in targets.profile],
        ids=[f"row-{row}" for row in targets.row],
        now_s=targets.at_s,
        page=np.full(n, Page.HOMEPAGE, np.uint8),
        device=np.zeros(n, np.uint8),
        n_items=np.full(n, DEPTH, np.int32),
        n_rows=np.ones(n, np.int32),
        seed_item=np.full(n, NO_ITEM, np.int32),
        kinds=np.zeros(n, np.uint8),
        exclude_watched=np.ones(n, np.bool_),
        region=[None] * n,
        query=[""] * n,
        category=[""] * n,
    )
    eligible = track.catalogue & ~seen(track.plays, targets)
    return Ask(
        requests, profiles(track.plays, targets, words), items, eligible, np.broadcast_to(track.catalogue, eligible.shape)
    )


def profiles(plays: Interactions, targets: Targets, words: Words) -> Profiles:
    """What a profile's rows before each target say, the newest `N_RECENT` as events; older ones are titles, not counters."""
    start = plays.bounds()[targets.profile]
    length = np.minimum(targets.row - start, N_RECENT)
    place = np.arange(N_RECENT)
    inside = place < length[:, None]
    recent = np.where(inside, words[np.where(inside, targets.row[:, None] - 1 - place, 0)], np.uint64(0))
    nothing = np.empty(0, np.int32)
    return Profiles(
        recent=recent,
        counters=np.zeros((len(targets), N_COUNTERS), np.int64),
        older_watched=[plays.item[begin:end] for begin, end in zip(start, targets.row - length, strict=True)],
        older_hidden=[nothing] * len(targets),
        settings=[ProfileSettings()] * len(targets),
        version=[0] * len(targets),
    )


def packed(plays: Interactions) -> Words:
    """Every row as a packed event: a plain play, for tracks know nothing else of it."""
    nothing = np.zeros(len(plays), np.int32)
    return fold.pack(plays.at_s, plays.item, np.full(len(plays), Action.PLAY, np.int32), nothing, nothing)

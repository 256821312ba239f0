"""History played back: the requests that would have been asked just before something was watched, with the state as of then.

Point in time by construction: a replayed state is folded from events strictly before its moment, by the same fold that
serving uses. Whatever made a moment, it is checked for that again where requests are made of it (`leaks`).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recray.data.examination import ORGANIC
from recray.data.leaks import refuse_later_states
from recray.features import fold
from recray.features.fold import FINISHED, ProfileState
from recray.features.profiles import Profiles, columns
from recray.schema import (
    NO_ITEM,
    WATCHING,
    Action,
    Bools,
    Floats,
    Ints,
    Longs,
    Objective,
    Page,
    ProfileKey,
    ProfileSettings,
    Requests,
    Words,
)

_LIKED_STARS = 4.0
_DISLIKED_STARS = 2.0


@dataclass(slots=True)
class Moment:
    """One replayed request: who, when, the state before, and what was watched next.

    `targets` distinct title numbers in order, `outcomes` [n_targets, n_objectives] float32 with NaN where unknown, `places`
    [n_targets, 2] int32 the row and position in the slate that each was started from, `ORGANIC` where from none.
    """

    key: ProfileKey
    at_s: int
    device: int
    state: bytes
    targets: Ints
    outcomes: Floats
    places: Ints


@dataclass(slots=True, frozen=True)
class Draw:
    """Which moments are replayed: those in [start_s, end_s), a share of them, at most so many a profile.

    `horizon` is how many distinct titles watched from the moment on become its targets.
    """

    start_s: int
    end_s: int
    horizon: int
    share: float
    per_profile: int
    seed: int

    def kept(self, key: ProfileKey, at_s: Longs) -> Bools:
        """Which of a profile's moments [n] are drawn: the same on every machine and in every order of profiles."""
        chance = np.array([zlib.crc32(f"{self.seed}|{key}|{n}|{at}".encode()) / 2**32 for n, at in enumerate(at_s)])
        kept = chance < self.share
        if np.count_nonzero(kept) > self.per_profile:
            kept &= chance <= np.partition(chance[kept], self.per_profile - 1)[self.per_profile - 1]
        return kept


def moments(key: ProfileKey, words: Words, draw: Draw, places: Ints | None = None) -> list[Moment]:
    """Replayed requests of one profile, whose packed events `words` are all there are, ascending.

    `places` [n_events, 2] are their rows and positions; without them every start is organic.
    """
    if places is None:
        places = np.full((len(words), 2), ORGANIC, np.int32)
    at_s = fold.times(words)
    watching = np.isin(fold.actions(words), WATCHING)
    inside = np.flatnonzero(watching & (at_s >= draw.start_s) & (at_s < draw.end_s))
    drawn = inside[draw.kept(key, at_s[inside])]
    replayed: list[Moment] = []
    state, folded = ProfileState(), 0
    for place in drawn:
        before = int(np.searchsorted(at_s, at_s[place]))  # the first event of that very second: none of them is known yet
        state, folded = fold.fold(state, words[folded:before]), before
        known = set(fold.items(words[:before]).tolist())
        later = [w for w in np.flatnonzero(watching[before:]) + before if int(fold.items(words[w : w + 1])[0]) not in known]
        first = _first(words[later], draw.horizon)
        if first.size:
            device, own = int(fold.devices(words[place : place + 1])[0]), words[later]
            refused = fold.items(words[before:][fold.actions(words[before:]) == Action.DISLIKE])
            targets, outcomes = fold.items(own)[first], _outcomes(own, first, refused)
            replayed.append(Moment(key, int(at_s[place]), device, fold.encode(state), targets, outcomes, places[later][first]))
    return replayed


def _first(words: Words, horizon: int) -> Longs:
    """Which of the watching events start one of the first distinct titles."""
    _, first = np.unique(fold.items(words), return_index=True)
    return np.sort(first)[:horizon].astype(np.int64)


def _outcomes(words: Words, first: Longs, refused: Ints) -> Floats:
    """What became of the titles that start at `first`: started, finished or liked, disliked, and how far watched."""
    numbers = fold.items(words)
    targets = numbers[first]
    outcomes = np.full((targets.size, len(Objective)), np.nan, np.float32)
    stars, share, delivered = fold.ratings(words), fold.progress(words), fold.actions(words) != Action.RATE
    for place, target in enumerate(targets):
        own = numbers == target
        best_stars = np.nanmax(stars[own], initial=np.nan) if np.isfinite(stars[own]).any() else np.nan
        finished = bool((share[own] >= FINISHED).any())
        outcomes[place, Objective.START] = 1
        # A rating without delivery facts says nothing about the end; liking it is the closest thing that was observed.
        outcomes[place, Objective.COMPLETION] = finished and not best_stars < _LIKED_STARS
        outcomes[place, Objective.DISLIKE] = target in refused or best_stars <= _DISLIKED_STARS
        # Ratings count as watched to the end, and plays without delivery facts as not at all: neither was observed.
        outcomes[place, Objective.WATCH_TIME] = share[own & delivered].max(initial=0) or np.nan
    return outcomes


def asked(replayed: Sequence[Moment], settings: Sequence[ProfileSettings], n_items: int) -> tuple[Requests, Profiles]:
    """Replayed moments as the batch that serving would have seen: homepage requests for `n_items`, watched titles excluded.

    Raises:
        DataError: a state knows something of its moment or later.
    """
    n, states = len(replayed), [fold.decode(moment.state) for moment in replayed]
    refuse_later_states(replayed, states)
    requests = Requests(
        keys=[moment.key for moment in replayed],
        ids=[f"replay-{moment.key}-{moment.at_s}" for moment in replayed],
        now_s=np.array([moment.at_s for moment in replayed], np.int64),
        page=np.full(n, Page.HOMEPAGE, np.uint8),
        device=np.array([moment.device for moment in replayed], np.uint8),
        n_items=np.full(n, n_items, np.int32),
        n_rows=np.ones(n, np.int32),
        seed_item=np.full(n, NO_ITEM, np.int32),
        kinds=np.zeros(n, np.uint8),
        exclude_watched=np.ones(n, np.bool_),
        region=[s.country for s in settings],
        query=[""] * n,
        category=[""] * n,
    )
    return requests, columns(states, settings)

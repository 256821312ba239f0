"""Tracks for what is new: profiles with few events, profiles that pick a few titles to begin with, titles with few plays.

Unlike the tracks of `tracks`, nothing here is published elsewhere: popularity on the same requests is what to compare with.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from recray.candidates.history import first_of_each
from recray.errors import ConfigError, DataError
from recray.evaluation.protocol import Targets, catalogue, leave_one_out
from recray.evaluation.tracks import RANKED, Track, order_alone
from recray.features.interactions import Interactions
from recray.schema import Bools, Longs

EVENTS: Final = (0, 1, 3, 5, 10)
PLAYS: Final = (0, 5, 20)
N_PICKS: Final = 3
N_OFFERED: Final = 100
_AWAY: Final = 0.1
_ENOUGH_PLAYS: Final = 40
_MOST_REQUESTS: Final = 6_000
_SEED: Final = 0

_AWAY_PROFILES: Final = (
    f"A tenth of the profiles with more than {max(EVENTS)} interactions, drawn at random, are new: models are fitted on the "
    "others, whose last interactions are for validation. "
)
PROTOCOLS: Final[Mapping[str, str]] = {
    "N": f"{_AWAY_PROFILES}Each new profile is asked for after its first {', '.join(map(str, EVENTS))} interactions; the next "
    f"one is the target. {RANKED}",
    "P": f"{_AWAY_PROFILES}Each new profile has picked up to {N_PICKS} titles, those that it rates best (then first) of the "
    f"{N_OFFERED} most watched; its last interaction is the target. {RANKED}",
    "T": f"A tenth of the titles with at least {_ENOUGH_PLAYS} interactions, drawn at random, are new: a third of them keeps "
    f"none, the others their first {PLAYS[1]} or {PLAYS[2]}. At most {_MOST_REQUESTS} interactions of those left out, "
    "drawn at random, are targets, their history all interactions before them. Models are fitted on what is not left out, "
    f"later times included, but for the last interaction of each profile, which is for validation. {RANKED}",
}


def make(name: str, plays: Interactions) -> Track:
    """The track of that name (N, P or T) of a data set, its requests grouped by what is new about them.

    Raises:
        ConfigError: no such track.
        DataError: the data set is too small for anything of it to be new.
    """
    if name not in _MAKERS:
        raise ConfigError(f"track is {name!r}; expected one of {', '.join(_MAKERS)} to ask for what is new")
    track = _MAKERS[name](plays.where(first_of_each(plays)))
    if not len(track.targets) or not track.learnt.any():
        raise DataError(
            f"track {name} leaves {np.count_nonzero(track.learnt)} interactions to learn from and {len(track.targets)} "
            f"requests of {len(plays)} interactions; expected some of both: import a larger data set"
        )
    return track


def _places(plays: Interactions) -> Longs:
    return np.arange(len(plays)) - plays.bounds()[plays.profile]


def _away(plays: Interactions) -> Bools:
    """Rows [n] of the profiles that nothing is learnt from."""
    drawn = np.random.default_rng(_SEED).random(plays.n_profiles) < _AWAY
    enough = np.diff(plays.bounds()) > max(EVENTS)
    return (drawn & enough)[plays.profile]


def _targets(plays: Interactions, rows: Longs) -> Targets:
    return Targets(plays.profile[rows], rows, plays.item[rows], plays.at_s[rows])


def _last(plays: Interactions) -> Bools:
    last = np.zeros(len(plays), np.bool_)
    last[leave_one_out(plays).row] = True
    return last


def _new_profiles(plays: Interactions) -> Track:
    away, place, last = _away(plays), _places(plays), _last(plays)
    rows = np.flatnonzero(away & np.isin(place, EVENTS))
    groups = {f"{n} events": place[rows] == n for n in EVENTS}
    plain = order_alone(plays)
    return Track("N", plain, ~away & ~last, ~away & last, _targets(plain, rows), catalogue(plays), groups)


def _picked(plays: Interactions) -> Track:
    away, last = _away(plays), _last(plays)
    watches = np.bincount(plays.item[~away], minlength=plays.n_items)
    offered = np.zeros(plays.n_items, np.bool_)
    offered[np.argsort(-watches, kind="stable")[:N_OFFERED]] = True
    able = np.flatnonzero(away & ~last & offered[plays.item])
    best = able[np.lexsort((able, -np.nan_to_num(plays.rating[able]), plays.profile[able]))]
    own = plays.profile[best]
    picks = best[np.arange(best.size) - np.searchsorted(own, own) < N_PICKS]
    kept = ~away | last
    kept[picks] = True
    shown = order_alone(plays.where(kept))
    away, last = away[kept], last[kept]
    rows = np.flatnonzero(away & last)
    place = _places(shown)[rows]
    groups = {f"{n} picks": place == n for n in range(N_PICKS + 1) if (place == n).any()}
    return Track("P", shown, ~away & ~last, ~away & last, _targets(shown, rows), catalogue(plays), groups)


def _new_titles(plays: Interactions) -> Track:
    draws = np.random.default_rng(_SEED)
    watches = np.bincount(plays.item, minlength=plays.n_items)
    able = draws.permutation(np.flatnonzero(watches >= _ENOUGH_PLAYS))
    new = able[: max(round(_AWAY * able.size), min(able.size, len(PLAYS)))]
    kept = np.full(plays.n_items, len(plays))
    kept[new] = np.resize(PLAYS, new.size)
    by_title = np.lexsort((plays.at_s, plays.item))
    number = np.empty(len(plays), np.int64)
    number[by_title] = np.arange(len(plays)) - (np.cumsum(watches) - watches)[plays.item[by_title]]
    hidden = number >= kept[plays.item]
    rows = np.flatnonzero(hidden & (_places(plays) > 0))
    rows = np.sort(draws.choice(rows, min(rows.size, _MOST_REQUESTS), replace=False))
    groups = {f"{n} plays": kept[plays.item[rows]] == n for n in PLAYS}
    last = _last(plays) & ~hidden
    plain = order_alone(plays)
    return Track("T", plain, ~hidden & ~last, last, _targets(plain, rows), catalogue(plays), groups)


_MAKERS: Final[Mapping[str, Callable[[Interactions], Track]]] = {"N": _new_profiles, "P": _picked, "T": _new_titles}

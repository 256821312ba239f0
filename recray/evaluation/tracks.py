"""The tracks on which published figures stand: one data set cut as papers cut it, in rows and in words.

Figures compare inside one track only: catalogue, tie order and what the model may know differ between tracks. Titles keep their
numbers; a track's `catalogue` says which of them are ranked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from recray.candidates.history import first_of_each
from recray.errors import ConfigError, DataError
from recray.evaluation.protocol import Targets, before, catalogue, leave_one_out, successive
from recray.features.interactions import Interactions
from recray.schema import Bools

CORE: Final = 5
QUANTILE: Final = 0.9

RANKED: Final = (
    "Every title of the catalogue that is not in the whole history of the request is ranked; nothing is sampled. Models see "
    "who began what and when, not how it was rated or finished; equal times of a profile keep the order of the raw file. A "
    "model of titles' content sees their metadata besides. The sequence model reads order alone unless a track says otherwise."
)
_LEFT_OUT_LAST: Final = (
    "Leave one out: each profile's last interaction is the target of one request, its history all interactions before "
    "it; the second-last is the validation target. Models are fitted on what is before both, and asked with the validation "
    "interaction in the history. "
)
_RAW: Final = (
    "No rating and no title is removed; the catalogue is every title with an interaction. Targets that no model met when it "
    "was fitted stay in, as misses unless they are found. A title that a profile has again is counted at its first time. "
)
PROTOCOLS: Final[Mapping[str, str]] = {
    "A": f"{_LEFT_OUT_LAST}Titles with fewer than {CORE} interactions are removed first, profiles are not; the catalogue is "
    f"the rest. A title that a profile has again is counted at its first time. {RANKED}",
    "B": f"{_LEFT_OUT_LAST}{_RAW}{RANKED}",
    "C": f"{_LEFT_OUT_LAST}{_RAW}{RANKED} The moment of the request, which is the target's time, is an input of the "
    "model, and so are the times of the history.",
    "D": "Global time split, successive: consecutive repeats of a title are dropped and profiles and titles with fewer than "
    f"{CORE} interactions removed, by turns until nothing changes; the catalogue is every title left. T is the {QUANTILE} "
    "quantile of all times. Every interaction after T that has an earlier one of its profile is the target of one request, its "
    "history all interactions before it; means are over requests. Known are interactions at or before T of profiles whose "
    f"second is not later; they are cut once more in the same way at the {QUANTILE} quantile of their times. Models are fitted "
    f"on the earlier part alone, and the later part is for validation. {RANKED}",
}
"""What each track does, exactly enough to be done again."""


@dataclass(slots=True, frozen=True)
class Track:
    """One track of one data set: `plays` are the rows left by its preparation, without ratings, and masks over them.

    `learnt` [n] rows that models are fitted on, `validation` [n] rows that choices may be made on, `catalogue` [n_items]
    titles that are ranked. No target is among either. `groups` are masks over the targets by name, where a track divides them.
    """

    name: str
    plays: Interactions
    learnt: Bools
    validation: Bools
    targets: Targets
    catalogue: Bools
    groups: Mapping[str, Bools] = field(default_factory=dict)


def make(name: str, plays: Interactions) -> Track:
    """The track of that name (A to D) of a data set.

    Raises:
        ConfigError: no such track.
        DataError: nothing is left to be learnt from or to be asked.
    """
    if name not in _MAKERS:
        raise ConfigError(f"track is {name!r}; expected one of {', '.join(_MAKERS)} to rank titles")
    track = _MAKERS[name](name, order_alone(plays))
    if not len(track.targets) or not track.learnt.any():
        raise DataError(
            f"track {name} leaves {np.count_nonzero(track.learnt)} interactions to learn from and {len(track.targets)} "
            f"requests of {len(plays)} interactions; expected some of both: import a larger data set"
        )
    return track


def core(plays: Interactions, per_title: int, per_profile: int) -> Interactions:
    """Rows left when titles and profiles with fewer rows than asked are removed until nothing changes."""
    while len(plays):
        kept = np.bincount(plays.profile, minlength=plays.n_profiles)[plays.profile] >= per_profile
        kept &= np.bincount(plays.item[kept], minlength=plays.n_items)[plays.item] >= per_title
        if kept.all():
            break
        plays = plays.where(kept)
    return plays


def shuffled_ties(plays: Interactions, rng: np.random.Generator) -> Interactions:
    """The same rows with the order of equal times of a profile drawn anew: another reading of the same raw file."""
    order = np.lexsort((rng.permutation(len(plays)), plays.at_s, plays.profile))
    columns = ("profile", "item", "at_s", "weight", "rating", "progress", "region")
    return replace(plays, **{name: getattr(plays, name)[order] for name in columns})


def order_alone(plays: Interactions) -> Interactions:
    """The rows without what was thought of them: every row a plain watch: published models of these tracks know no ratings."""
    unknown = np.full(len(plays), np.nan, np.float32)
    return replace(plays, weight=np.ones(len(plays), np.float32), rating=unknown, progress=unknown)


def _leave_one_out(name: str, plays: Interactions) -> Track:
    targets, validation = leave_one_out(plays), leave_one_out(plays, back=1)
    chosen_on = np.zeros(len(plays), np.bool_)
    chosen_on[validation.row] = True
    learnt = before(plays, targets) & before(plays, validation)
    return Track(name, plays, learnt, chosen_on, targets, catalogue(plays))


def _raw(name: str, plays: Interactions) -> Track:
    return _leave_one_out(name, plays.where(first_of_each(plays)))


def _frequent(name: str, plays: Interactions) -> Track:
    return _leave_one_out(name, core(plays.where(first_of_each(plays)), CORE, 1))


def _by_time(name: str, plays: Interactions) -> Track:
    n_rows = -1
    while n_rows != len(plays):
        n_rows = len(plays)
        plays = core(plays.where(_not_repeated(plays)), CORE, CORE)
    everything = np.ones(n_rows, np.bool_)
    end_s = _quantile_s(plays, everything)
    known = _until(plays, everything, end_s)
    fitted_s = _quantile_s(plays, known)
    asked = successive(plays, end_s, None, np.random.default_rng(0))
    return Track(name, plays, _until(plays, known, fitted_s), known & (plays.at_s > fitted_s), asked, catalogue(plays))


def _not_repeated(plays: Interactions) -> Bools:
    kept = np.ones(len(plays), np.bool_)
    kept[1:] = (plays.item[1:] != plays.item[:-1]) | (plays.profile[1:] != plays.profile[:-1])
    return kept


def _quantile_s(plays: Interactions, among: Bools) -> int:
    # Times are whole seconds: not later than the quantile is not later than its floor. Nothing is not later than 0.
    return int(np.floor(np.quantile(plays.at_s[among], QUANTILE))) if among.any() else 0


def _until(plays: Interactions, among: Bools, end_s: int) -> Bools:
    """Rows of `among` not later than a moment, of profiles whose second row is not."""
    place = np.arange(len(plays)) - plays.bounds()[plays.profile]
    early = np.zeros(plays.n_profiles, np.bool_)
    early[plays.profile[(place == 1) & (plays.at_s <= end_s)]] = True
    return among & (plays.at_s <= end_s) & early[plays.profile]


_MAKERS: Final[Mapping[str, Callable[[str, Interactions], Track]]] = {"A": _frequent, "B": _raw, "C": _raw, "D": _by_time}

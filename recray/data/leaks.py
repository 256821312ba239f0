"""What an example may know: nothing from its moment on. Checked where examples and judged requests are made of it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from recray.errors import DataError
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import Ints, ProfileKey

_ANEW = "replay the moments anew from the lake"


class Predicted(Protocol):
    """Who is asked for, when, and the title numbers that are to be predicted."""

    key: ProfileKey
    at_s: int
    targets: Ints


def refuse_later_states(replayed: Sequence[Predicted], states: Sequence[ProfileState]) -> None:
    """Nothing when each state holds events strictly before its moment, and none of a title that is to be predicted.

    What left a state's recent events has no time any more; it is older than those, and its titles are still known.

    Raises:
        DataError: a state knows later; with the profile, the moment and what it knows.
    """
    for one, state in zip(replayed, states, strict=True):
        newest_s = max(int(fold.times(state.recent).max(initial=0)), state.first_at_s)
        if newest_s >= one.at_s:
            raise DataError(
                f"state of profile {one.key} for the moment {one.at_s} s holds an event at {newest_s} s; expected events "
                f"before the moment alone: {_ANEW}"
            )
        known = np.concatenate((fold.items(state.recent), state.watched, state.hidden))
        leaked = one.targets[np.isin(one.targets, known)]
        if leaked.size:
            raise DataError(
                f"state of profile {one.key} for the moment {one.at_s} s, its newest event at {newest_s} s, knows title number "
                f"{int(leaked[0])}, which is watched only from then on; expected a state folded up to the moment: {_ANEW}"
            )


def refuse_later_items(replayed: Sequence[Predicted], as_of_s: int) -> None:
    """Nothing when title statistics as of a moment are known at every one of the moments.

    Raises:
        DataError: they are later; with the earliest moment and its profile.
    """
    first = min(replayed, key=lambda one: one.at_s, default=None)
    if first is not None and as_of_s > first.at_s:
        raise DataError(
            f"title features as of {as_of_s} s are joined to the moment {first.at_s} s of profile {first.key}; expected "
            "features as of the moment or before: build the catalogue as of the end of the period that sources learn from"
        )

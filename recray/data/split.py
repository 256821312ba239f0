"""Cuts history into what may be learnt from and what is predicted: by time for the product, and as papers cut it.

Every cut is strict: what is learnt from lies before what is judged, and no event is in two parts.
"""

from dataclasses import dataclass

import numpy as np

from recray.errors import ConfigError, DataError
from recray.features.interactions import Interactions
from recray.schema import Ints, Longs
from recray.settings import SplitSettings

_PARTS = ("sources", "rankers", "validation", "test")


@dataclass(slots=True, frozen=True)
class Boundaries:
    """Where each part of the time axis ends (exclusive), in seconds since 1970; the test part ends at `end_s`.

    The next part begins `gap_s` after an end: what happens in a gap belongs to no part.
    """

    sources_end_s: int
    rankers_end_s: int
    validation_end_s: int
    end_s: int
    gap_s: int = 0

    def part(self, at_s: Longs) -> Ints:
        """The part [n] int32 of each moment: 0 sources, 1 rankers, 2 validation, 3 test, -1 in a gap or after the end."""
        ends = np.array([self.sources_end_s, self.rankers_end_s, self.validation_end_s, self.end_s])
        part = np.searchsorted(ends, at_s, side="right").astype(np.int32)
        begins = np.concatenate([[np.iinfo(np.int64).min], ends + self.gap_s])
        return np.where((part < len(ends)) & (at_s >= begins[part]), part, -1).astype(np.int32)


def time_split(at_s: Longs, shares: SplitSettings) -> Boundaries:
    """Times that cut the events [n] (in any order) into the shares of `SplitSettings`; the rest is the test part.

    A boundary is a moment and not a row, so events of one second never straddle it: they all fall behind it.

    Raises:
        ConfigError: the shares leave nothing for the test part.
        DataError: a part would be empty (too few distinct moments, or the gap swallows it).
    """
    given = np.array([shares.sources, shares.rankers, shares.validation])
    if given.sum() >= 1.0:
        raise ConfigError(
            f"split shares {given.tolist()} sum to {given.sum():.2f}; expected less than 1, the rest is the test part"
        )
    if not len(at_s):
        raise DataError("there are no events to split; expected at least one in each part: import a set with events")
    ordered = np.sort(at_s)
    cuts = ordered[np.minimum((np.cumsum(given) * len(ordered)).round().astype(np.int64), len(ordered) - 1)]
    boundaries = Boundaries(int(cuts[0]), int(cuts[1]), int(cuts[2]), int(ordered[-1]) + 1, int(np.ceil(shares.gap_s)))
    counts = np.bincount(boundaries.part(ordered) + 1, minlength=len(_PARTS) + 1)[1:]
    wanted = np.append(given, 1.0) > 0
    if (empty := wanted & (counts == 0)).any():
        names = ", ".join(name for name, is_empty in zip(_PARTS, empty, strict=True) if is_empty)
        raise DataError(
            f"{len(at_s)} events at {len(np.unique(ordered))} distinct moments leave no event for: {names}; "
            f"give a longer history, other shares, or a gap below {boundaries.gap_s} s"
        )
    return boundaries


def leave_one_out(interactions: Interactions, n_last: int = 1) -> tuple[Interactions, Ints]:
    """All but each profile's last `n_last` rows, and the row numbers [m] int32 of those, ascending.

    "Last" is the given order: interactions sorted by (profile, time, event id) keep the raw file's order among equal times,
    as the stable-sort protocols ask. A profile with no more than `n_last` rows would have no history: it keeps all its rows.
    """
    bounds = interactions.bounds()
    length = np.diff(bounds)
    from_end = np.repeat(bounds[1:], length) - np.arange(len(interactions))
    held = (from_end <= n_last) & np.repeat(length > n_last, length)
    return interactions.where(~held), np.flatnonzero(held).astype(np.int32)


@dataclass(slots=True, frozen=True)
class GlobalTime:
    """A global temporal split [Gusak2025]: learn up to `cutoff_s`, predict after it.

    `successive` [m] int32 are the row numbers of every interaction after the cutoff, each predicted from the rows before it;
    `last` [n] int32 only the final one of each profile that is active after the cutoff.
    """

    cutoff_s: float
    train: Interactions
    successive: Ints
    last: Ints


def global_time(interactions: Interactions, quantile: float) -> GlobalTime:
    """Split at a quantile of all timestamps (linear interpolation).

    Learnt from: rows at or before the cutoff, of profiles whose second row is there too (one row teaches no sequence). A row
    after the cutoff that is its profile's first has no history to be predicted from and is not judged.
    """
    cutoff_s = float(np.quantile(interactions.at_s, quantile))
    bounds = interactions.bounds()
    before = interactions.at_s <= cutoff_s
    n_before = np.add.reduceat(np.append(before, 0).astype(np.int64), bounds[:-1]) * (np.diff(bounds) > 0)
    first = np.zeros(len(interactions), np.bool_)
    first[bounds[:-1][np.diff(bounds) > 0]] = True
    judged = ~before & ~first
    final = np.zeros(len(interactions), np.bool_)
    final[bounds[1:][np.diff(bounds) > 0] - 1] = True
    return GlobalTime(
        cutoff_s,
        interactions.where(before & (n_before[interactions.profile] >= 2)),
        np.flatnonzero(judged).astype(np.int32),
        np.flatnonzero(judged & final).astype(np.int32),
    )

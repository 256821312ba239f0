"""Profile states and settings of a batch of requests as padded arrays, decoded once for every stage that follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from recray.features import fold
from recray.features.fold import FINISHED, N_COUNTERS, N_RECENT, ProfileState
from recray.schema import NO_ITEM, WATCHING, Action, Bools, Device, Floats, Ints, Longs, ProfileSettings, Words

_DISLIKED_STARS: Final = np.float32(2.0)
_N_ACTIONS: Final = 16


def _marked(actions: Sequence[Action]) -> Bools:
    """By action number whether it is one of these [17] bool; the last place is that of -1, which none of them is."""
    marked = np.zeros(_N_ACTIONS + 1, np.bool_)
    marked[list(actions)] = True
    return marked


_WATCHES: Final = _marked(WATCHING)
_REFUSES: Final = _marked(fold.REFUSING)
_LIKES: Final = _marked(fold.LIKING)


@dataclass(slots=True, repr=False)
class Totals:
    """Events ever of each profile, float32: by daypart [B, 8], on weekends [B], by device [B, 4], by action [B, 16]."""

    dayparts: Floats
    weekend: Floats
    devices: Floats
    actions: Floats


@dataclass(repr=False)
class Profiles:
    """What is known about the profiles of a batch of B requests.

    `recent` [B, N_RECENT] packed events, newest first, zero where absent; `counters` [B, N_COUNTERS] of older events;
    `older_watched`/`older_hidden` title numbers of older events; `settings` per row; `version` of each state. `encoded` are
    the states as bytes where they are at hand, or nothing.
    """

    recent: Words
    counters: Longs
    older_watched: Sequence[Ints]
    older_hidden: Sequence[Ints]
    settings: Sequence[ProfileSettings]
    version: Sequence[int]
    encoded: Sequence[bytes | None] = ()

    @property
    def n(self) -> int:
        return len(self.settings)

    @cached_property
    def present(self) -> Bools:
        return self.recent != 0

    @cached_property
    def items(self) -> Ints:
        """Title of each recent event [B, N_RECENT], NO_ITEM where absent."""
        return np.where(self.present, fold.items(self.recent), NO_ITEM).astype(np.int32)

    @cached_property
    def actions(self) -> Ints:
        """Action of each recent event, -1 where absent."""
        return np.where(self.present, fold.actions(self.recent), -1).astype(np.int32)

    @cached_property
    def at_s(self) -> Longs:
        return fold.times(self.recent)

    @cached_property
    def progress(self) -> Floats:
        return fold.progress(self.recent)

    @cached_property
    def ratings(self) -> Floats:
        return fold.ratings(self.recent)

    @cached_property
    def watching(self) -> Bools:
        """Recent events that prove a title was started [B, N_RECENT]."""
        return _WATCHES[self.actions]

    @cached_property
    def rejecting(self) -> Bools:
        """Recent events that say no: dislike, hide, or a rating of two stars or less [B, N_RECENT]."""
        return _REFUSES[self.actions] | (self.ratings <= _DISLIKED_STARS)

    @cached_property
    def liking(self) -> Bools:
        """The newest like of each title that was not rejected since [B, N_RECENT]."""
        liked = _LIKES[self.actions]
        if not liked.any():
            return liked
        return self._newest(liked | self.rejecting) & liked

    @cached_property
    def history(self) -> Ints:
        """Distinct titles started or liked, newest first [B, N_RECENT], padded with NO_ITEM at the end."""
        return self._titles(self._known)

    @cached_property
    def history_at_s(self) -> Longs:
        """When each title of `history` was last watched or liked [B, N_RECENT], 0 where there is none."""
        front = np.argsort(~self._known, axis=1, kind="stable")
        return np.take_along_axis(np.where(self._known, self.at_s, 0), front, axis=1)

    @cached_property
    def _known(self) -> Bools:
        """The newest event of each title that was started or liked [B, N_RECENT]."""
        return self._newest(self.watching | self.liking)

    @cached_property
    def _standing(self) -> Bools:
        """The newest watching event of each title that was not rejected by it or since [B, N_RECENT]."""
        return self._newest(self.watching | self.rejecting) & ~self.rejecting

    @cached_property
    def favourites(self) -> Ints:
        """As `history`, without what the viewer rejected since: the seeds of "because you watched"."""
        liking = self.liking
        return self._titles(self._newest(self._standing | liking) if liking.any() else self._standing)

    @cached_property
    def unfinished(self) -> Ints:
        """Titles begun and not finished, most recent first [B, N_RECENT], padded with NO_ITEM.

        The newest watching event of a title decides; what was rejected since is not offered for resuming.
        """
        return self._titles(self._standing & (self.progress < FINISHED))

    @cached_property
    def totals(self) -> Totals:
        """Lifetime counts: the recent events and the counters of older ones."""
        older = fold.sections(self.counters)
        weekend = (self.present & ((self.at_s // 86_400 + 3) % 7 >= 5)).sum(axis=1) + older["weekend"][:, 0]
        return Totals(
            self._counts(self.at_s // 10_800 % fold.N_DAYPARTS, fold.N_DAYPARTS) + older["dayparts"].astype(np.float32),
            weekend.astype(np.float32),
            self._counts(fold.devices(self.recent).astype(np.int64), len(Device)) + older["devices"].astype(np.float32),
            self._counts(np.maximum(self.actions, 0).astype(np.int64), _N_ACTIONS) + older["actions"].astype(np.float32),
        )

    def _counts(self, code: Longs, size: int) -> Floats:
        """Recent events by code [B, size] float32."""
        flat = (np.arange(self.n)[:, None] * size + code)[self.present]
        return np.bincount(flat, minlength=self.n * size).reshape(self.n, size).astype(np.float32)

    def _newest(self, among: Bools) -> Bools:
        """Of the events marked, the newest of each title [B, N_RECENT]."""
        at = np.flatnonzero(among)
        title = self.items.ravel()[at] + at // N_RECENT * fold.MAX_TITLES
        _, first = np.unique(title, return_index=True)
        newest = np.zeros(among.size, np.bool_)
        newest[at[first]] = True
        return newest.reshape(among.shape)

    def _titles(self, marked: Bools) -> Ints:
        """Titles of the events marked, in their order, padded with NO_ITEM."""
        front = np.argsort(~marked, axis=1, kind="stable")
        titles = np.where(marked, self.items, NO_ITEM)
        return np.take_along_axis(titles, front, axis=1).astype(np.int32)

    def watched(self, row: int) -> Ints:
        """Every title the profile ever started, as far as its state knows; unsorted, may repeat."""
        return np.concatenate((self.items[row][self.watching[row]], self.older_watched[row]))

    def only_liked(self, row: int) -> set[int]:
        """Titles that the profile likes and, as far as its state knows, never started."""
        liked = self.items[row][self.liking[row]]
        return set(liked.tolist()).difference(self.watched(row).tolist() if liked.size else ())

    def hidden(self, row: int) -> Ints:
        """Every title the viewer asked not to see again."""
        said_no = _REFUSES[self.actions[row]]
        return np.concatenate((self.items[row][said_no], self.older_hidden[row]))

    def state(self, row: int) -> ProfileState:
        """The folded state that a row was laid out from, but for the moment of its very first event."""
        newest_first = self.recent[row][self.present[row]]
        return ProfileState(
            newest_first[::-1], self.counters[row].astype(np.uint32), self.older_watched[row], self.older_hidden[row]
        )

    def encode(self, row: int) -> bytes:
        """The state of a row as `fold.encode` writes it."""
        known = self.encoded[row] if self.encoded else None
        return fold.encode(self.state(row)) if known is None else known

    def take(self, rows: Longs) -> "Profiles":
        """Select profiles by position, in the order given."""
        return Profiles(
            self.recent[rows],
            self.counters[rows],
            [self.older_watched[r] for r in rows],
            [self.older_hidden[r] for r in rows],
            [self.settings[r] for r in rows],
            [self.version[r] for r in rows],
            [self.encoded[r] for r in rows] if self.encoded else (),
        )


def columns(
    states: Sequence[ProfileState],
    settings: Sequence[ProfileSettings],
    version: Sequence[int] | None = None,
    encoded: Sequence[bytes | None] = (),
) -> Profiles:
    """Lay folded states side by side."""
    recent = np.zeros((len(states), N_RECENT), np.uint64)
    counters = np.zeros((len(states), N_COUNTERS), np.int64)
    for row, state in enumerate(states):
        recent[row, : state.recent.size] = state.recent[::-1]
        counters[row] = state.counters
    return Profiles(
        recent,
        counters,
        [state.watched for state in states],
        [state.hidden for state in states],
        settings,
        version if version is not None else [0] * len(states),
        encoded,
    )

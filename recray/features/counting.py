"""Counting: (tally, who watched what when) -> tally. The only code that turns events into a tally.

An account counts once per title, at its newest watch, however many of its profiles watch it and how often: a newer watch moves
it to another slot, so that in every window it weighs once. On one day it counts for `account_titles` titles at most. So a flood
from one account adds one to each of a few titles. Accounts are known by digests; those longest unseen are forgotten.
"""

import zlib
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import numpy as np

from recray.errors import DataError
from recray.features.tally import SHOWN, Tally, packed, slot_of, spread, squeezed
from recray.schema import Bools, Ints, Longs, Words

_DAY_S: Final = 86_400
_TITLE_BITS, _KIND_BITS = 24, 1
_ACCOUNT: Final = np.uint64(_TITLE_BITS + _KIND_BITS)
_ONE: Final = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Titles that one account counts for per day, and what is held at most: days, rows of the tally, pairs remembered."""

    account_titles: int
    keep_days: float
    most_rows: int
    most_pairs: int


@dataclass(frozen=True, slots=True, repr=False)
class Seen:
    """Who watched what when [n], in any order: digests of accounts and titles, names of regions (empty: unknown), times."""

    accounts: Words
    titles: Words
    regions: list[str]
    at_s: Longs


@dataclass(repr=False)
class Counting:
    """A tally being kept up. State: the tally, and of each account and title (`pair`, sorted) when and where it counts."""

    tally: Tally
    bounds: Bounds
    pair: Words = field(default_factory=lambda: np.empty(0, np.uint64))
    pair_at_s: Longs = field(default_factory=lambda: np.empty(0, np.int64))
    pair_region: Ints = field(default_factory=lambda: np.empty(0, np.int32))

    def count(self, seen: Seen, *, shown: bool = False) -> None:
        """Count watches, or with `shown` that titles were on accounts' pages; what was counted before changes nothing."""
        if not seen.at_s.size:
            return
        region = np.full(seen.at_s.size, SHOWN, np.int32) if shown else self._regions(seen.regions)
        pair = _pairs(seen.accounts, seen.titles, shown=shown)
        # Of two at the same moment the first counts, as when they come one by one.
        newest_last = np.lexsort((-np.arange(pair.size), seen.at_s, pair))
        kept = newest_last[np.append(np.diff(pair[newest_last]) != 0, True)]
        pair, at_s, region = pair[kept], seen.at_s[kept], region[kept]
        place, known = self._found(pair)
        before_s = np.full(pair.size, -1)
        before_s[known] = self.pair_at_s[place[known]]
        counts = at_s > before_s
        if not shown:
            counts &= self._affordable(pair, at_s, counts & (before_s // _DAY_S != at_s // _DAY_S))
        title = self._titles(seen.titles[kept][counts])
        gone = counts & known
        left_at_s, left_region = before_s[gone], self.pair_region[place[gone]]
        left = packed(slot_of(left_at_s, self.tally.at_s), left_region, title[known[counts]])
        come = packed(slot_of(at_s[counts], self.tally.at_s), region[counts], title)
        self._add(np.append(left, come), np.append(np.full(left.size, -1), np.ones(come.size, np.int64)))
        self._remember(pair[counts], at_s[counts], region[counts])

    def _found(self, pair: Words) -> tuple[Longs, Bools]:
        """Where pairs are remembered or would be [n], and whether they are."""
        place = np.searchsorted(self.pair, pair)
        held = np.append(self.pair, np.uint64(0))[place]
        return place, (held == pair) & (place < self.pair.size)

    def _affordable(self, pair: Words, at_s: Longs, fresh: Bools) -> Bools:
        """Watches that are not fresh (counted on that day already), and of each account's fresh ones as many as a day has room.

        `pair` is sorted.
        """
        account, first = np.unique(pair >> _ACCOUNT, return_index=True)
        begin = np.searchsorted(self.pair, account << _ACCOUNT)
        size = np.searchsorted(self.pair, account << _ACCOUNT | _ONE << np.uint64(_TITLE_BITS)) - begin
        own = np.repeat(begin - np.append(0, np.cumsum(size)[:-1]), size) + np.arange(size.sum())
        spent = np.repeat(np.arange(account.size), size) << 20 | self.pair_at_s[own] // _DAY_S
        day = np.repeat(np.arange(account.size), np.diff(np.append(first, pair.size))) << 20 | at_s // _DAY_S
        days, n_spent = np.unique(spent, return_counts=True)
        n_spent, days = np.append(n_spent, 0), np.append(days, np.iinfo(np.int64).max)
        at = np.searchsorted(days, day)
        used = np.where(days[at] == day, n_spent[at], 0)
        order = np.lexsort((~fresh, day))
        run = np.append(0, np.flatnonzero(np.diff(day[order])) + 1)
        place = np.empty(day.size, np.int64)
        place[order] = np.arange(day.size) - np.repeat(run, np.diff(np.append(run, day.size)))
        return ~fresh | (used + place < self.bounds.account_titles)

    def _regions(self, names: list[str]) -> Ints:
        known = {name: place for place, name in enumerate(self.tally.regions)}
        for name in names:
            known.setdefault(name, len(known))
        self._replace(regions=tuple(known))
        return np.array([known[name] for name in names], np.int32)

    def _titles(self, digests: Words) -> Ints:
        order = np.argsort(self.tally.titles)
        new = np.setdiff1d(digests, self.tally.titles)
        if new.size:
            self._replace(titles=np.append(self.tally.titles, new))
            order = np.argsort(self.tally.titles)
        return order[np.searchsorted(self.tally.titles, digests, sorter=order)].astype(np.int32)

    def _add(self, keys: Words, number: Longs) -> None:
        every, place = np.unique(np.append(self.tally.keys, keys), return_inverse=True)
        total = np.bincount(place, np.append(self.tally.number, number), every.size).astype(np.int64)
        self._replace(keys=every[total > 0], number=total[total > 0])

    def _remember(self, pair: Words, at_s: Longs, region: Ints) -> None:
        place, known = self._found(pair)
        self.pair_at_s[place[known]], self.pair_region[place[known]] = at_s[known], region[known]
        at = np.searchsorted(self.pair, pair[~known])
        self.pair = np.insert(self.pair, at, pair[~known])
        self.pair_at_s = np.insert(self.pair_at_s, at, at_s[~known])
        self.pair_region = np.insert(self.pair_region, at, region[~known])

    def advance(self, now_s: int) -> Tally:
        """The version as of a moment: older slots become wider, and what is too old or too much goes, the oldest first."""
        rows = self.tally
        oldest_s = int(now_s - self.bounds.keep_days * _DAY_S)
        if rows.keys.size > self.bounds.most_rows:
            oldest_s = max(oldest_s, int(rows.slot_s[-self.bounds.most_rows]))
        kept = rows.slot_s >= oldest_s
        keys = packed(slot_of(rows.slot_s[kept], now_s), rows.region[kept], rows.title[kept])
        self._replace(keys=np.empty(0, np.uint64), number=np.empty(0, np.int64), at_s=now_s)
        self._add(keys, rows.number[kept])
        if self.pair.size > self.bounds.most_pairs:
            oldest_s = max(oldest_s, int(np.partition(self.pair_at_s, -self.bounds.most_pairs)[-self.bounds.most_pairs]))
        held = self.pair_at_s >= oldest_s
        self.pair, self.pair_at_s, self.pair_region = self.pair[held], self.pair_at_s[held], self.pair_region[held]
        return self.tally

    def _replace(self, **changed: Any) -> None:
        self.tally = replace(self.tally, **changed)

    def memory(self) -> bytes:
        """What is remembered of accounts, as bytes; about ten per pair."""
        parts = (np.diff(self.pair, prepend=np.uint64(0)), self.pair_at_s.astype("<u4"), self.pair_region.astype("<u2"))
        return msgspec.msgpack.encode([squeezed(part) for part in parts])


def resumed(tally: Tally, memory: bytes, bounds: Bounds) -> Counting:
    """Counting that goes on from a version and what `memory` wrote beside it.

    Raises:
        DataError: the bytes are no such memory.
    """
    try:
        steps, at_s, region = msgspec.msgpack.decode(memory, type=tuple[bytes, bytes, bytes])
        pair = np.cumsum(spread(steps, "<u8"), dtype=np.uint64)
        return Counting(tally, bounds, pair, spread(at_s, "<u4").astype(np.int64), spread(region, "<u2").astype(np.int32))
    except (msgspec.MsgspecError, zlib.error, ValueError) as problem:
        raise DataError(
            f"memory of {len(memory)} bytes beside a tally cannot be read ({problem}); delete the tally, it counts anew"
        ) from problem


def _pairs(accounts: Words, titles: Words, *, shown: bool) -> Words:
    """Account, kind and title in one word [n], which sorts by account."""
    title = titles & np.uint64((1 << _TITLE_BITS) - 1)
    kind = np.uint64(shown) << np.uint64(_TITLE_BITS)
    return accounts << _ACCOUNT | kind | title

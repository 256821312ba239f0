"""The tally: how many accounts watched a title, or were shown it, by the moment of their newest watch and by region.

It is folded from the logs of the running application, belongs to no bundle, and knows no half life: rows are plain counts by
slot of time, so that whoever reads one version of it decays them as it needs, from the moment its own knowledge ends.

    slot: 5 minutes in the last 2 hours, an hour in the last 2 days, a day before that
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np

from recray.errors import DataError
from recray.schema import Floats, Ints, Longs, Words

SLOT_S: Final = 300
SHOWN: Final = 0xFFFF
"""Region of rows that count to whom a title was shown; those are not told apart by region."""
_HOUR_S, _DAY_S = 3_600, 86_400
_FINE_S, _HOURLY_S = 2 * _HOUR_S, 2 * _DAY_S
_REGION_BITS, _TITLE_BITS = 16, 24


@dataclass(frozen=True, repr=False)
class Tally:
    """One version: n rows, parallel and in order of `keys` (slot, region, title packed), none of them zero.

    `number` [n] counts accounts. `titles` [n_titles] uint64 are digests of content ids, `regions` names of countries, the first
    of them empty for accounts that named none. `since_s` is when the counting began, `at_s` when this version was made.
    """

    keys: Words
    number: Longs
    titles: Words
    regions: tuple[str, ...]
    since_s: int
    at_s: int

    @cached_property
    def slot_s(self) -> Longs:
        """When each row's slot begins [n]."""
        return (self.keys >> np.uint64(_REGION_BITS + _TITLE_BITS)).astype(np.int64) * SLOT_S

    @cached_property
    def middle_s(self) -> Longs:
        """The middle of each row's slot [n], which stands for all that is counted there."""
        return self.slot_s + width_s(self.slot_s, self.at_s) // 2

    @cached_property
    def region(self) -> Ints:
        """Place of each row's region in `regions`, or SHOWN [n]."""
        return ((self.keys >> np.uint64(_TITLE_BITS)) & np.uint64(SHOWN)).astype(np.int32)

    @cached_property
    def title(self) -> Ints:
        """Place of each row's title in `titles` [n]."""
        return (self.keys & np.uint64((1 << _TITLE_BITS) - 1)).astype(np.int32)

    def decayed(self, half_life_s: float, at_s: int, from_s: int) -> Floats:
        """What each row is worth at a moment [n] float64: half after each half life; nothing at or before `from_s`."""
        age_s = np.maximum(at_s - self.middle_s, 0)
        return np.where(self.middle_s > from_s, self.number * np.exp2(-age_s / half_life_s), 0.0)


def empty(at_s: int) -> Tally:
    """A tally that begins at a moment."""
    return Tally(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64), ("",), at_s, at_s)


def packed(slot_s: Longs, region: Ints, title: Ints) -> Words:
    """Row keys; they sort by slot, then region, then title."""
    slot, place, number = (np.asarray(part, np.uint64) for part in (slot_s // SLOT_S, region, title))
    return (slot << np.uint64(_REGION_BITS + _TITLE_BITS)) | (place << np.uint64(_TITLE_BITS)) | number


def width_s(slot_s: Longs, at_s: int) -> Longs:
    """How long a slot is for a version made at a moment, given when it begins."""
    age_s = at_s - slot_s
    return np.where(age_s < _FINE_S, SLOT_S, np.where(age_s < _HOURLY_S, _HOUR_S, _DAY_S))


def slot_of(at_s: Longs, made_at_s: int) -> Longs:
    """When the slot of a moment begins, in a version made at `made_at_s`; a slot of an older version likewise."""
    fine_s, hour_s = at_s // SLOT_S * SLOT_S, at_s // _HOUR_S * _HOUR_S
    # By the hour, not the moment: whatever lay in one hourly slot has to get into a daily one at the same time.
    wide_s = np.where(made_at_s - hour_s >= _HOURLY_S, at_s // _DAY_S * _DAY_S, hour_s)
    return np.where(made_at_s - fine_s < _FINE_S, fine_s, wide_s)


def title_digests(content_ids: Iterable[str]) -> Words:
    """Eight bytes for each content id [n] uint64, the same in every process."""
    return np.array([_digest(content_id) for content_id in content_ids], np.uint64)


def account_digests(user_ids: Iterable[str]) -> Words:
    """As `title_digests`, of accounts."""
    return np.array([_digest(user_id, b"account") for user_id in user_ids], np.uint64)


def _digest(name: str, person: bytes = b"") -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=person).digest(), "little")


class _Written(msgspec.Struct):
    keys: bytes
    number: bytes
    titles: bytes
    regions: tuple[str, ...]
    since_s: int
    at_s: int


def encode(tally: Tally) -> bytes:
    """A version as bytes, about six per row and eight per title."""
    steps = np.diff(tally.keys, prepend=np.uint64(0))
    written = _Written(
        squeezed(steps), squeezed(tally.number.astype("<u4")), tally.titles.astype("<u8").tobytes(), tally.regions,
        tally.since_s, tally.at_s,
    )  # fmt: skip
    return msgspec.msgpack.encode(written)


def decode(blob: bytes) -> Tally:
    """The version that `encode` wrote.

    Raises:
        DataError: the bytes are no tally.
    """
    try:
        found = msgspec.msgpack.decode(blob, type=_Written)
        keys = np.cumsum(spread(found.keys, "<u8"), dtype=np.uint64)
        number = spread(found.number, "<u4").astype(np.int64)
        titles = np.frombuffer(found.titles, "<u8").astype(np.uint64)
    except (msgspec.MsgspecError, zlib.error, ValueError) as problem:
        raise DataError(
            f"tally of {len(blob)} bytes cannot be read ({problem}); expected one of this version: delete it, it counts anew"
        ) from problem
    return Tally(keys, number, titles, found.regions, found.since_s, found.at_s)


def squeezed(values: np.ndarray[Any, Any]) -> bytes:
    """Numbers as compressed bytes, all first bytes before all second ones: most of the higher ones are alike."""
    return zlib.compress(values.view(np.uint8).reshape(values.size, values.itemsize).T.tobytes(), 1)


def spread(blob: bytes, kind: str) -> np.ndarray[Any, Any]:
    """The numbers [n] that `squeezed` wrote."""
    size = np.dtype(kind).itemsize
    planes = np.frombuffer(zlib.decompress(blob), np.uint8).reshape(size, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(kind)

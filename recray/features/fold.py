"""How events become a profile's state. The only code that does it, online and offline.

A state holds the newest `N_RECENT` events exactly and everything older as counters and two title sets, so that
`fold` depends on the set of events only: neither on their order of arrival nor on repeats among the recent ones. (A repeat
of an event that has already left the recent window is caught by the store's dedup on the packed event.)

Each event is one packed word, ordered by time: 32 bits seconds since 1970, 20 bits title number, 4 bits action, 2 bits
device, 6 bits value. Title numbers are the append-only row numbers of the catalogue, which every bundle shares.
"""

import math
import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recray.errors import DataError
from recray.features import state_bytes, state_bytes_1
from recray.features.compiled import held
from recray.schema import UNFOLDED, WATCHING, Action, Device, Ints, Longs, Words

REFUSING: Final = (Action.HIDE, Action.DISLIKE)
"""Actions that ask not to be shown the title again; like what was watched, they outlast the recent window."""

LIKING: Final = (Action.LIKE,)
"""Actions that say yes to a title, watched or not: while they are recent, it is evidence as what was watched is."""

N_RECENT: Final = 200
MAX_TITLES: Final = 1 << 20
FINISHED: Final = np.float32(0.9)
"""Share watched from which a title counts as finished."""
_MAX_TIME: Final = (1 << 32) - 1
_HEAD: Final = 3
_MOST_BYTES: Final = 10

N_DAYPARTS: Final = 8
_N_ACTIONS: Final = 16
_ACTIONS = slice(0, _N_ACTIONS)
_DEVICES = slice(_N_ACTIONS, _N_ACTIONS + 4)
_DAYPARTS = slice(_N_ACTIONS + 4, _N_ACTIONS + 4 + N_DAYPARTS)
_WEEKEND = _N_ACTIONS + 4 + N_DAYPARTS
N_COUNTERS: Final = _WEEKEND + 1


def pack(at_s: Longs, item: Ints, action: Ints, device: Ints, value: Ints) -> Words:
    """Packed events [n] uint64 from parallel arrays; times before 1970 and after 2106 are clipped.

    Raises:
        DataError: a title number outside 0..MAX_TITLES-1, which would spill into the time.
    """
    numbers = np.asarray(item, np.int64)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < MAX_TITLES:
        wrong = int(numbers.min() if numbers.min() < 0 else numbers.max())
        raise DataError(f"title number {wrong} cannot be packed; expected 0..{MAX_TITLES - 1}: number the titles anew")
    at = np.clip(np.asarray(at_s, np.int64), 0, _MAX_TIME).astype(np.uint64)
    word = (at << np.uint64(20)) | numbers.astype(np.uint64)
    word = (word << np.uint64(4)) | np.asarray(action).astype(np.uint64)
    word = (word << np.uint64(2)) | np.asarray(device).astype(np.uint64)
    return (word << np.uint64(6)) | np.asarray(value).astype(np.uint64)


def packed_value(action: Action, rating: float | None, progress: float | None) -> int:
    """The six value bits: for a rating 4 bits of half stars and 2 of progress in thirds, otherwise progress in 63rds.

    A rating without progress counts as watched to the end; `complete` without progress likewise. NaN, which is how tables
    spell an absent value, reads as None. Progress is rounded down, but never from finished to unfinished.
    """
    rating = None if rating is None or rating != rating else rating
    progress = None if progress is None or progress != progress else progress
    if action == Action.RATE:
        stars = round(min(max((rating or 0.0) * 2.0, 0.0), 10.0))
        return (int(stars) << 2) | _steps(1.0 if progress is None else progress, 3)
    return _steps((1.0 if action == Action.COMPLETE else 0.0) if progress is None else progress, 63)


def _steps(share: float, n: int) -> int:
    within = min(max(share, 0.0), 1.0) + 1e-6
    return max(int(within * n), finished_steps(n)) if within >= float(FINISHED) else int(within * n)


def finished_steps(n: int) -> int:
    """The least of n equal steps of progress that counts as finished."""
    return math.ceil(float(FINISHED) * n - 1e-6)


def times(words: Words) -> Longs:
    """Seconds since 1970 of packed events."""
    return (words >> np.uint64(32)).astype(np.int64)


def items(words: Words) -> Ints:
    """Title numbers of packed events."""
    return ((words >> np.uint64(12)) & np.uint64(0xFFFFF)).astype(np.int32)


def actions(words: Words) -> Ints:
    """Action codes of packed events."""
    return ((words >> np.uint64(8)) & np.uint64(0xF)).astype(np.int32)


def devices(words: Words) -> Ints:
    """Device codes of packed events."""
    return ((words >> np.uint64(6)) & np.uint64(0x3)).astype(np.int32)


def values(words: Words) -> Ints:
    """The six value bits of packed events (see `packed_value`)."""
    return (words & np.uint64(0x3F)).astype(np.int32)


def progress(words: Words) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Share watched in 0..1, float32, whatever the action."""
    value = values(words)
    rated = actions(words) == Action.RATE
    return np.where(rated, (value & 3) / np.float32(3), value / np.float32(63)).astype(np.float32)


def ratings(words: Words) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Stars 0.5..5 of ratings, NaN for other actions and for ratings that came without stars, float32."""
    stars = (values(words) >> 2) / np.float32(2)
    return np.where((actions(words) == Action.RATE) & (stars > 0), stars, np.float32(np.nan)).astype(np.float32)


def _no_words() -> Words:
    return np.empty(0, np.uint64)


def _no_items() -> Ints:
    return np.empty(0, np.int32)


@dataclass(slots=True)
class ProfileState:
    """One profile's folded history.

    `recent` [<= N_RECENT] uint64 ascending; `counters` [N_COUNTERS] uint32 over the events that left it; `watched` and
    `hidden` sorted title numbers that those started and refused; `first_at_s` the oldest event ever folded (0 when none).
    """

    recent: Words = field(default_factory=_no_words)
    counters: Ints = field(default_factory=lambda: np.zeros(N_COUNTERS, np.uint32))
    watched: Ints = field(default_factory=_no_items)
    hidden: Ints = field(default_factory=_no_items)
    first_at_s: int = 0


def fold(state: ProfileState, events: Words) -> ProfileState:
    """State after more events, in any order and with repeats; the argument is left as it is."""
    if not events.size:
        return state
    kept = ~np.isin(actions(events), UNFOLDED)
    merged = np.union1d(state.recent, events[kept])
    if not merged.size:
        return state
    cut = max(len(merged) - N_RECENT, 0)
    oldest = int(times(merged[:1])[0])
    first_at_s = min(oldest, state.first_at_s) if state.recent.size else oldest
    if not cut:
        return ProfileState(merged, state.counters, state.watched, state.hidden, first_at_s)
    gone = merged[:cut]
    action, item = actions(gone), items(gone)
    return ProfileState(
        recent=merged[cut:],
        counters=state.counters + count(gone),
        watched=np.union1d(state.watched, item[np.isin(action, WATCHING)]).astype(np.int32),
        hidden=np.union1d(state.hidden, item[np.isin(action, REFUSING)]).astype(np.int32),
        first_at_s=first_at_s,
    )


def count(words: Words) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Counters [N_COUNTERS] uint32 of packed events: by action, device, three-hour part of the UTC day, and weekend."""
    counters = np.zeros(N_COUNTERS, np.uint32)
    at = times(words)
    counters[_ACTIONS] = np.bincount(actions(words), minlength=_N_ACTIONS)
    counters[_DEVICES] = np.bincount(devices(words), minlength=len(Device))
    counters[_DAYPARTS] = np.bincount(at // 10_800 % N_DAYPARTS, minlength=N_DAYPARTS)
    counters[_WEEKEND] = np.count_nonzero((at // 86_400 + 3) % 7 >= 5)  # 1970-01-01 was a Thursday
    return counters


def sections(counters: Longs) -> dict[str, Longs]:
    """Parts of counters [..., N_COUNTERS]: `actions` [..., 16], `devices` [..., 4], `dayparts` [..., 8], `weekend` [..., 1]."""
    return {
        "actions": counters[..., _ACTIONS],
        "devices": counters[..., _DEVICES],
        "dayparts": counters[..., _DAYPARTS],
        "weekend": counters[..., _WEEKEND:],
    }


def encode(state: ProfileState) -> bytes:
    """The state as bytes; see `state_bytes`."""
    first, n_recent = state.first_at_s, len(state.recent)
    oldest = int(times(state.recent[:1])[0]) if n_recent else 0
    heads = np.array([n_recent, len(state.watched), len(state.hidden)], np.int64)
    gaps = [np.diff(titles.astype(np.int64), prepend=0) for titles in (state.watched, state.hidden)]
    numbers = np.concatenate(([first, oldest], state.counters, *gaps)).astype(np.int64).view(np.uint64)
    out = np.zeros(_MOST_BYTES * (len(heads) + len(numbers) + n_recent + 1) + 4 * n_recent, np.uint8)
    size = state_bytes.write(heads, numbers, held(state.recent, np.uint64), out)
    out[:_HEAD] = np.frombuffer(struct.pack("<HB", state_bytes.MAGIC, state_bytes.VERSION), np.uint8)
    return out[:size].tobytes()


def decode(blob: bytes) -> ProfileState:
    """The state that `encode` wrote, in this version or the one before.

    Raises:
        DataError: the bytes are truncated, not a state of a known version, or not what `encode` writes.
    """
    if not blob:
        return ProfileState()
    if len(blob) < _HEAD:
        raise DataError(f"profile state has {len(blob)} bytes; expected at least {_HEAD}: fold it anew from the log")
    magic, version = struct.unpack_from("<HB", blob)
    if magic != state_bytes.MAGIC or version not in {1, state_bytes.VERSION}:
        raise DataError(f"profile state has version {version}; expected {state_bytes.VERSION}: fold it anew from the log")
    recent, counters, watched, hidden, first = state_bytes_1.read(blob, N_COUNTERS) if version == 1 else _read(blob)
    fits = len(recent) <= N_RECENT and bool(np.all(recent[1:] > recent[:-1]))
    if not fits or not (_ascending(watched) and _ascending(hidden)):
        raise _unlike(len(recent))
    state = ProfileState(recent, counters.astype(np.uint32), watched.astype(np.int32), hidden.astype(np.int32))
    state.first_at_s = first
    return state


def _read(blob: bytes) -> state_bytes_1.Columns:
    raw = np.frombuffer(bytearray(blob), np.uint8)
    heads = np.zeros(3, np.uint64)
    place = state_bytes.read_numbers(raw, _HEAD, heads)
    n_recent, n_watched, n_hidden = heads.tolist()
    if place < 0 or max(n_recent, n_watched, n_hidden) > len(blob):
        raise _unlike(n_recent)
    numbers = np.zeros(2 + N_COUNTERS + n_watched + n_hidden, np.uint64)
    place = state_bytes.read_numbers(raw, place, numbers)
    recent = np.zeros(n_recent, np.uint64)
    first, oldest = numbers[:2].tolist()
    counters, gaps = numbers[2 : 2 + N_COUNTERS], numbers[2 + N_COUNTERS :].view(np.int64)
    large = max(first, oldest, int(counters.max())) > _MAX_TIME or bool(np.any((gaps < 0) | (gaps >= MAX_TITLES)))
    if place < 0 or large or (oldest and not n_recent) or not state_bytes.read_recent(raw, place, oldest, recent):
        raise _unlike(n_recent)
    watched, hidden = np.cumsum(gaps[:n_watched]), np.cumsum(gaps[n_watched:])
    return recent, counters.astype(np.int64), watched.astype(np.int32), hidden.astype(np.int32), first


def _unlike(n_recent: int) -> DataError:
    return DataError(f"profile state of {n_recent} recent events is not one that was encoded: fold it anew from the log")


def _ascending(titles: Ints) -> bool:
    return bool(np.all(titles[1:] > titles[:-1])) and (
        not titles.size or (int(titles[0]) >= 0 and int(titles[-1]) < MAX_TITLES)
    )

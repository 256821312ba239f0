"""User feature values: (profiles, items, now_s) -> [B, width] float32. Declared in `views`; nothing here names a column."""

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from recray.features.compiled import compiled, held
from recray.features.fold import FINISHED
from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.schema import AGE_GROUPS, Bools, Floats, Ints, Kind, Longs

DAY_S: Final = 86_400.0
SESSION_GAP_S: Final = 3_600.0
PICKED_TITLES: Final = np.float32(1)
"""Titles watched that all genres picked together count as."""
_PREFERENCE_HALF_LIFE_S: Final = 30 * DAY_S
_QUIET_DAYS: Final = 30.0
"""Absences longer than this read the same: replayed history and a live clock must not differ without bound."""


def age(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Position of the age group in 0..1, and whether it is known."""
    place = [AGE_GROUPS.index(s.age_group) if s.age_group in AGE_GROUPS else -1 for s in profiles.settings]
    group = np.asarray(place, np.float32)
    return np.stack((np.maximum(group, 0) / (len(AGE_GROUPS) - 1), group >= 0), axis=1).astype(np.float32)


def signs(words: Sequence[str | None], width: int) -> Floats:
    """Fixed pseudo-random signs [n, width] in {-1, 1} per word, zeros for None: a category of any size in few columns.

    Feature hashing [Weinberger2009] with a stable checksum; the builtin hash differs from process to process.
    """
    table = np.zeros((len(words), width), np.float32)
    for row, word in enumerate(words):
        if word:
            bits = zlib.crc32(word.encode())
            table[row] = [1.0 if bits >> (5 * column) & 1 else -1.0 for column in range(width)]
    return table


def country(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Three signs of the profile's country; zeros when it is not set."""
    return signs([s.country for s in profiles.settings], 3)


def language(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Three signs of the profile's language; zeros when it is not set."""
    return signs([s.language for s in profiles.settings], 3)


def viewing_time(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Shares of night, morning, afternoon and evening (UTC), of the weekend, and whether anything is known."""
    dayparts, weekend = profiles.totals.dayparts, profiles.totals.weekend
    n = np.maximum(dayparts.sum(axis=1), 1)
    quarters = dayparts.reshape(-1, 4, 2).sum(axis=2) / n[:, None]
    return np.column_stack((quarters, weekend / n, profiles.present.any(axis=1))).astype(np.float32)


def _weights(profiles: Profiles, now_s: Longs) -> Floats:
    """Decayed weight of each recent event [B, N_RECENT]: positive for watching and liking, negative for rejecting."""
    weights = np.zeros(profiles.recent.shape, np.float32)
    said_yes = profiles.watching | profiles.liking
    about = held(profiles.present, np.bool_), held(said_yes, np.bool_), held(profiles.rejecting, np.bool_)
    _decayed(held(profiles.at_s, np.int64), held(now_s, np.int64), about, weights)
    return weights


@compiled
def _decayed(at_s: Longs, now_s: Longs, about: tuple[Bools, Bools, Bools], weights: Floats) -> None:
    """As `_weights`; about = (present, watching or liking, rejecting)."""
    present, said_yes, rejecting = about
    for row in range(len(at_s)):
        newest = 0.0
        for place in range(at_s.shape[1]):
            if present[row, place]:
                age_s = max(now_s[row] - at_s[row, place], 0)
                decay = np.exp2(-min(age_s / _PREFERENCE_HALF_LIFE_S, 60.0))
                newest = max(newest, decay)
                weights[row, place] = decay * (said_yes[row, place] - 1.5 * rejecting[row, place])
        # Only ratios matter: relative to the newest event, so that a long absence does not erase taste.
        for place in range(at_s.shape[1]):
            weights[row, place] /= max(newest, 1e-30)


def _mixed(weights: Floats, numbers: Ints, table: Floats) -> Floats:
    """Sums [B, width] of a per-item table's rows for title numbers [B, H], times their weights; unknown titles add nothing."""
    sums = np.zeros((len(numbers), table.shape[1]), np.float32)
    _add_rows(held(weights, np.float32), held(numbers, np.int32), held(table, np.float32), sums)
    return sums


@compiled
def _add_rows(weights: Floats, numbers: Ints, table: Floats, sums: Floats) -> None:
    for row in range(len(numbers)):
        for place in range(numbers.shape[1]):
            number, weight = numbers[row, place], weights[row, place]
            if weight != 0 and 0 <= number < len(table):
                for column in range(table.shape[1]):
                    sums[row, column] += weight * table[number, column]


def picked_genres(profiles: Profiles, items: Items) -> Floats:
    """Shares of the genres that each viewer picked [B, n_genres], in the order of `genre_names`; zeros where none was."""
    picked = np.zeros((profiles.n, len(items.genre_names)), np.float32)
    for row, settings in enumerate(profiles.settings):
        if settings.genres:
            known = [items.genre_of[name.casefold()] for name in settings.genres if name.casefold() in items.genre_of]
            picked[row, known] = 1 / max(len(known), 1)
    return picked


def genre_preference(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Decayed genre shares of what was watched or liked, less what was rejected, over the first N_GENRES genres.

    Genres that were picked count as `PICKED_TITLES` titles watched just now, so that they fade as a history grows.
    """
    weights = _weights(profiles, now_s)
    liked = _mixed(weights, profiles.items, items.genre_table)
    known = np.abs(weights).sum(axis=1)
    picked = PICKED_TITLES * picked_genres(profiles, items)[:, items.common_genres]
    liked[:, : items.common_genres.size] += picked
    known += picked.sum(axis=1)
    return (liked / np.maximum(known, 1e-6)[:, None]).astype(np.float32)


def device_preference(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Share of all events ever on each device; zeros before the first."""
    device = profiles.totals.devices
    return device / np.maximum(device.sum(axis=1, keepdims=True), 1)


def completion(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Share of recent starts that were finished, shrunk to one half."""
    finished = (profiles.watching & (profiles.progress >= FINISHED)).sum(axis=1)
    return ((finished + 1) / (profiles.watching.sum(axis=1) + 2)).astype(np.float32)[:, None]


def binge(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Share of recent starts that followed another within the session gap."""
    gap = profiles.at_s[:, :-1] - profiles.at_s[:, 1:]
    both = profiles.watching[:, :-1] & profiles.watching[:, 1:]
    return ((both & (gap < SESSION_GAP_S)).sum(axis=1) / np.maximum(both.sum(axis=1), 1)).astype(np.float32)[:, None]


def openness(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Discovery openness: mean unpopularity (1 - popularity percentile) of what was watched; one half when unknown."""
    rare = _mixed(profiles.watching.astype(np.float32), profiles.items, items.rarity[:, None])[:, 0]
    n = profiles.watching.sum(axis=1)
    return ((rare + 0.5) / (n + 1)).astype(np.float32)[:, None]


def last_genre(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Genres of the title watched last."""
    newest = profiles.watching.argmax(axis=1)[:, None]
    watched = np.take_along_axis(profiles.watching, newest, axis=1).astype(np.float32)
    return _mixed(watched, np.take_along_axis(profiles.items, newest, axis=1), items.genre_table)


def last_session(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Log hours since the last session began, and log number of events in it."""
    at = profiles.at_s
    together = np.cumprod((at[:, :-1] - at[:, 1:] < SESSION_GAP_S) & profiles.present[:, 1:], axis=1).sum(axis=1)
    began = np.take_along_axis(at, together[:, None], axis=1)[:, 0]
    known = profiles.present[:, 0]
    hours = np.clip((now_s - began) / 3_600, 0, _QUIET_DAYS * 24)
    length = np.where(known, together + 1, 0)
    return np.stack((np.where(known, np.log1p(hours), 0), np.log1p(length)), axis=1).astype(np.float32)


def days_since_watch(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Log days since the last watching event, at most `_QUIET_DAYS`, which is also the value when there is none."""
    newest = np.max(np.where(profiles.watching, profiles.at_s, 0), axis=1)
    return np.log1p(np.clip((now_s - newest) / DAY_S, 0, _QUIET_DAYS)).astype(np.float32)[:, None]


def activity(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Log number of events ever, and share of recent starts that were rejected."""
    rejected = profiles.rejecting.sum(axis=1) / np.maximum(profiles.present.sum(axis=1), 1)
    return np.stack((np.log1p(profiles.totals.actions.sum(axis=1)), rejected), axis=1).astype(np.float32)


def taste(profiles: Profiles, items: Items, now_s: Longs) -> Floats:
    """Decayed mean content vector [B, dim] of what was watched, unit length (zeros when nothing was)."""
    weights = np.maximum(_weights(profiles, now_s), 0)
    mean = _mixed(weights, profiles.items, items.content)
    return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def kind_share(profiles: Profiles, items: Items) -> Floats:
    """Share of recent starts by kind [B, 4]; titles newer than the table do not count."""
    counts = np.zeros((profiles.n, len(Kind)), np.float32)
    _count_kinds(held(profiles.items, np.int32), held(profiles.watching, np.bool_), held(items.kind, np.uint8), counts)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), np.float32(1))


@compiled
def _count_kinds(numbers: Ints, watching: Bools, kind: Ints, counts: Floats) -> None:
    for row in range(len(numbers)):
        for place in range(numbers.shape[1]):
            if watching[row, place] and numbers[row, place] < len(kind):
                counts[row, kind[numbers[row, place]]] += np.float32(1)

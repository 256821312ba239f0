"""A catalogue of six titles and builders of packed events, small enough to reckon by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.items import LONG_AGO, Items
from recray.features.profiles import Profiles, columns
from recray.schema import Action, Device, Kind, ProfileKey, ProfileSettings, Requests, Words

DAY = 86_400
NOW = 1_700_000_000
"""2023-11-14 22:13:20 UTC, a Tuesday."""

Told = tuple[int, int, Action, float | None]
"""(seconds before NOW, title number, action, stars of a rating or else progress)"""


def word(told: Told, device: Device = Device.TV) -> int:
    ago, item, action, value = told
    rating, progress = (value, None) if action == Action.RATE else (None, value)
    packed = fold.packed_value(action, rating, progress)
    one = np.array([0])
    return int(fold.pack(one + NOW - ago, one + item, one + action, one + device, one + packed)[0])


def words(*told: Told) -> Words:
    return np.array([word(each) for each in told], np.uint64)


def catalogue(n: int = 6) -> Items:
    """Titles t0.. of three genres; even ones films, odd ones series; popularity falls with the number."""
    numbers = np.arange(n)
    content = np.eye(4, dtype=np.float32)[numbers % 4]
    return Items(
        content_ids=[f"t{i}" for i in numbers],
        names=[f"Title {i}" for i in numbers],
        kind=np.where(numbers % 2 == 0, Kind.MOVIE, Kind.SERIES).astype(np.uint8),
        genre_names=["Action", "Comedy", "Drama"],
        genres=np.eye(3, dtype=np.bool_)[numbers % 3],
        release_at_s=np.where(numbers == 0, LONG_AGO, NOW - 400 * DAY * (numbers + 1)).astype(np.int64),
        added_at_s=np.full(n, NOW - 100 * DAY, np.int64),
        maturity=(numbers * 3).astype(np.int32),
        language_names=["en", "fr"],
        language=(numbers % 3 - 1).astype(np.int32),
        n_languages=np.ones(n, np.int32),
        priority=np.ones(n, np.float32),
        duration_s=np.full(n, 6_000, np.float32),
        content=content,
        plays=np.outer(n - numbers, (1, 5, 50)).astype(np.float32),
        completion=np.full(n, 0.5, np.float32),
        rating=np.full(n, 3.5, np.float32),
        as_of_s=NOW,
    )


def profiles(*histories: Words, settings: list[ProfileSettings] | None = None) -> Profiles:
    states = [fold.fold(ProfileState(), history) for history in histories]
    return columns(states, settings or [ProfileSettings()] * len(states))


def requests(n: int, now_s: int = NOW) -> Requests:
    rows = np.arange(n)
    return Requests(
        keys=[ProfileKey(f"u{i}", "p") for i in rows],
        ids=[f"r{i}" for i in rows],
        now_s=np.full(n, now_s, np.int64),
        page=(rows % 4).astype(np.uint8),
        device=(rows % 4).astype(np.uint8),
        n_items=np.full(n, 20, np.int32),
        n_rows=np.full(n, 10, np.int32),
        seed_item=np.full(n, -1, np.int32),
        kinds=np.zeros(n, np.uint8),
        exclude_watched=np.ones(n, np.bool_),
        region=[("US", "FR", None)[i % 3] for i in rows],
        query=[""] * n,
        category=[""] * n,
    )


class World:
    """The builders above, handed to tests as one fixture."""

    day, now = DAY, NOW
    words = staticmethod(words)
    catalogue: Callable[..., Items] = staticmethod(catalogue)
    profiles = staticmethod(profiles)
    requests = staticmethod(requests)


@pytest.fixture
def world() -> World:
    return World()

"""The vocabulary: actions, kinds, pages, devices, the tables' Arrow schemas, and the columnar batches between stages.

Everything that names a column, an action or a page takes the name from here. Nothing here computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]
Longs: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Bools: TypeAlias = NDArray[np.bool_]
Words: TypeAlias = NDArray[np.uint64]
Tensors: TypeAlias = dict[str, NDArray[Any]]

NO_ITEM: Final = -1
"""Pads item arrays where a request has fewer candidates than the batch is wide."""


class Action(IntEnum):
    """What a viewer did. The number is stored in profile states: never renumber, at most 16."""

    IMPRESSION = 0
    CLICK = 1
    PLAY = 2
    PROGRESS = 3
    COMPLETE = 4
    RATE = 5
    LIKE = 6
    DISLIKE = 7
    ADD = 8
    REMOVE = 9
    SEARCH = 10
    HIDE = 11


WATCHING: Final = (Action.PLAY, Action.PROGRESS, Action.COMPLETE, Action.RATE)
"""Actions that prove the title was started: they feed `exclude_watched` and every history-based source."""
UNFOLDED: Final = (Action.IMPRESSION, Action.SEARCH)
"""Actions that are logged for training but never enter a profile's state: they would flush what was watched."""


class Kind(IntEnum):
    MOVIE = 0
    SERIES = 1
    DOCUMENTARY = 2
    SPECIAL = 3


class Page(IntEnum):
    HOMEPAGE = 0
    POST_WATCH = 1
    SEARCH = 2
    CATEGORY = 3


class Device(IntEnum):
    """Stored in two bits of a packed event: at most four."""

    OTHER = 0
    TV = 1
    MOBILE = 2
    DESKTOP = 3


class Objective(IntEnum):
    """One thing a ranker predicts: a column of its output. All but START are of a started title; WATCH_TIME is a share."""

    START = 0
    COMPLETION = 1
    DISLIKE = 2
    WATCH_TIME = 3


def word(member: IntEnum) -> str:
    """Name an enumeration's member as tables and HTTP spell it (`POST_WATCH` -> `post-watch`)."""
    return member.name.lower().replace("_", "-")


ACTION_OF: Final = {word(a): a for a in Action}
KIND_OF: Final = {word(k): k for k in Kind}
DEVICE_OF: Final = {word(d): d for d in Device}
PAGE_OF: Final = {word(p): p for p in Page}

_UTC = pa.timestamp("ms", tz="UTC")
_WORDS = pa.list_(pa.string())


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


TITLES: Final = pa.schema(
    [
        _required("content_id", pa.string()),
        _required("name", pa.string()),
        _required("kind", pa.string()),
        _required("genres", _WORDS),
        pa.field("release_date", pa.date32()),
        pa.field("synopsis", pa.string()),
        pa.field("cast", _WORDS),
        pa.field("directors", _WORDS),
        pa.field("countries", _WORDS),
        pa.field("original_language", pa.string()),
        pa.field("languages", _WORDS),
        pa.field("localized_names", pa.map_(pa.string(), pa.string())),
        pa.field("maturity", pa.int16()),
        pa.field("duration_min", pa.float32()),
        pa.field("added_at", _UTC),
        pa.field("priority", pa.float32()),
    ]
)
AVAILABILITY: Final = pa.schema(
    [
        _required("content_id", pa.string()),
        _required("region", pa.string()),
        pa.field("start_at", _UTC),
        pa.field("end_at", _UTC),
    ]
)
PROFILES: Final = pa.schema(
    [
        _required("user_id", pa.string()),
        _required("profile_id", pa.string()),
        pa.field("country", pa.string()),
        pa.field("language", pa.string()),
        pa.field("age_group", pa.string()),
        pa.field("maturity_limit", pa.int16()),
        pa.field("created_at", _UTC),
        pa.field("consent", pa.bool_()),
    ]
)
EVENTS: Final = pa.schema(
    [
        _required("event_id", pa.string()),
        _required("user_id", pa.string()),
        _required("profile_id", pa.string()),
        _required("content_id", pa.string()),
        _required("action", pa.string()),
        _required("event_at", _UTC),
        pa.field("value", pa.float32()),
        pa.field("watch_s", pa.float32()),
        pa.field("progress", pa.float32()),
        pa.field("device", pa.string()),
        pa.field("recommendation_id", pa.string()),
        pa.field("row", pa.int16()),
        pa.field("position", pa.int16()),
    ]
)
FOLLOWS: Final = pa.schema(
    [
        _required("user_id", pa.string()),
        _required("profile_id", pa.string()),
        _required("followed_user_id", pa.string()),
        _required("followed_profile_id", pa.string()),
        pa.field("followed_at", _UTC),
    ]
)
TABLES: Final = {"titles": TITLES, "availability": AVAILABILITY, "profiles": PROFILES, "events": EVENTS, "follows": FOLLOWS}
AGE_GROUPS: Final = ("under-18", "18-24", "25-34", "35-44", "45-49", "50-55", "56-plus")


@dataclass(slots=True, frozen=True)
class ProfileKey:
    """Whose state, settings and history are meant."""

    user_id: str
    profile_id: str

    def __str__(self) -> str:
        return f"{self.user_id}/{self.profile_id}"


@dataclass(slots=True, frozen=True)
class ProfileSettings:
    """What a viewer or the operator set for a profile; absent values are None, `genres` are those that the viewer picked."""

    country: str | None = None
    language: str | None = None
    age_group: str | None = None
    maturity_limit: int | None = None
    consent: bool = True
    genres: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Event:
    """An immutable fact about one profile and one title."""

    event_id: str
    user_id: str
    profile_id: str
    content_id: str
    action: Action
    event_at_s: int
    value: float | None = None
    watch_s: float | None = None
    progress: float | None = None
    device: Device = Device.OTHER
    recommendation_id: str | None = None
    row: int | None = None
    position: int | None = None


@dataclass(slots=True, repr=False)
class Requests:
    """A columnar batch of requests; one request is a batch of one.

    Arrays have length `n` (B below). `seed_item` is the title just watched (or NO_ITEM), `kinds` a bit mask of allowed
    kinds (0 allows all), `now_s` the moment each request is answered as of.
    """

    keys: list[ProfileKey]
    ids: list[str]
    now_s: Longs
    page: Bytes
    device: Bytes
    n_items: Ints
    n_rows: Ints
    seed_item: Ints
    kinds: Bytes
    exclude_watched: Bools
    region: list[str | None]
    query: list[str]
    category: list[str]

    @property
    def n(self) -> int:
        return len(self.keys)

    @staticmethod
    def join(parts: "Sequence[Requests]") -> "Requests":
        """Several batches as one, in the order given."""

        def joined(values: list[Any]) -> Any:
            return np.concatenate(values) if isinstance(values[0], np.ndarray) else [one for part in values for one in part]

        return Requests(**{part.name: joined([getattr(one, part.name) for one in parts]) for part in fields(Requests)})

    def take(self, rows: Longs) -> "Requests":
        """Select requests by position, in the order given."""

        def taken(values: Any) -> Any:
            return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]

        return Requests(**{part.name: taken(getattr(self, part.name)) for part in fields(self)})


@dataclass(slots=True, repr=False)
class Retrieved:
    """What one candidate source proposes, best first.

    `items` is [B, k] int32 padded with NO_ITEM, `scores` [B, k] float32 (the source's own scale, higher is better),
    `seeds` [B, k] int32: the title that is the evidence ("because you watched"), or NO_ITEM.
    """

    items: Ints
    scores: Floats
    seeds: Ints


class Counted(NamedTuple):
    """Which version of the tally an answer was made with, and as of when; version 0 is none: what the bundle knows alone."""

    version: int = 0
    at_s: int = 0


NOT_COUNTED: Final = Counted()


@dataclass(slots=True, repr=False)
class Candidates:
    """The union of the sources, without duplicates.

    `items` is [B, K] int32 padded with NO_ITEM. `scores` and `ranks` are [B, K, n_sources]: the source's own score (NaN
    where it did not propose the item) and its rank from 1 (0 where it did not). `seeds` is [B, K], the best evidence.
    `dropped` lists (row, item, reason) and is filled only when a trace is asked for. `counted` says which live counts.
    """

    items: Ints
    scores: Floats
    ranks: Ints
    seeds: Ints
    sources: tuple[str, ...]
    degraded: list[str] = field(default_factory=list)
    dropped: list[tuple[int, int, str]] = field(default_factory=list)
    counted: Counted = NOT_COUNTED

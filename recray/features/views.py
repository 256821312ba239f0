"""Every feature, declared once: its entity, width, default, and the function that computes it.

Order here is column order everywhere; the fingerprint of these declarations binds a bundle to the code that serves it.
A feature is added by one line below and its function in the entity's module.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from recray.features import context, item, match, user
from recray.features.items import N_GENRES
from recray.schema import Floats

Entity = Literal["user", "context", "item", "match"]

SOURCES: Final = (
    "popular",
    "trending",
    "new_releases",
    "cowatch",
    "item_based",
    "ease",
    "neighbours",
    "factors",
    "content",
    "sequence",
    "resume",
)
"""Names of the candidate sources, in the order of the source columns of the match features."""


@dataclass(frozen=True, slots=True)
class View:
    """One named group of columns about one entity.

    `window` says which events or facts it rests on; `default` replaces NaN (unknown) values.
    """

    name: str
    entity: Entity
    width: int
    compute: Callable[..., Floats]
    window: str
    default: float = 0.0


VIEWS: Final = (
    View("age_group", "user", 2, user.age, "profile settings"),
    View("country", "user", 3, user.country, "profile settings"),
    View("language_preference", "user", 3, user.language, "profile settings"),
    View("viewing_time", "user", 6, user.viewing_time, "every event"),
    View("genre_preference", "user", N_GENRES, user.genre_preference, "200 events, half-life 30 days"),
    View("device_preference", "user", 4, user.device_preference, "every event"),
    View("completion_rate", "user", 1, user.completion, "200 events"),
    View("binge_tendency", "user", 1, user.binge, "200 events"),
    View("discovery_openness", "user", 1, user.openness, "200 events"),
    View("last_watched_genre", "user", N_GENRES, user.last_genre, "last watching event"),
    View("last_session", "user", 2, user.last_session, "last session"),
    View("days_since_last_watch", "user", 1, user.days_since_watch, "last watching event, at most 30 days"),
    View("activity", "user", 2, user.activity, "every event"),
    View("hour", "context", 2, context.hour, "request"),
    View("weekend", "context", 1, context.weekend, "request"),
    View("device", "context", 3, context.device, "request"),
    View("page", "context", 2, context.page, "request"),
    View("region", "context", 2, context.region, "request"),
    View("kind", "item", 2, item.kind, "title"),
    View("genres", "item", N_GENRES, item.genres, "title"),
    View("age_since_release", "item", 1, item.age_since_release, "title", default=2.5),
    View("age_since_added", "item", 1, item.age_since_added, "title", default=2.5),
    View("maturity", "item", 1, item.maturity, "title"),
    View("languages", "item", 2, item.language, "title"),
    View("popularity", "item", 3, item.popularity, "7 days, 30 days, all"),
    View("regional_popularity", "item", 1, item.regional_popularity, "decayed plays by region"),
    View("completion", "item", 1, item.completion, "all plays, shrunk"),
    View("rating", "item", 1, item.rating, "all ratings, shrunk"),
    View("content_vector", "item", 5, item.content, "genres, people and plot of the title"),
    View("source_scores", "match", len(SOURCES), match.source_scores, "request"),
    View("source_ranks", "match", len(SOURCES), match.source_ranks, "request"),
    View("affinity", "match", 6, match.affinity, "200 events and the title"),
)


def of(entity: Entity) -> tuple[View, ...]:
    """Views of one entity in column order."""
    return tuple(view for view in VIEWS if view.entity == entity)


def width(entity: Entity) -> int:
    """Number of columns of one entity."""
    return sum(view.width for view in of(entity))


def column_names(entity: Entity) -> list[str]:
    """One name per column: the view's, numbered where it is wider than one."""
    return [view.name if view.width == 1 else f"{view.name}_{i}" for view in of(entity) for i in range(view.width)]


def fingerprint() -> str:
    """Hash of the ordered declarations; a bundle made for other views is refused."""
    lines: list[Any] = [(v.name, v.entity, v.width, v.default, v.window, v.compute.__qualname__) for v in VIEWS]
    return hashlib.sha256(repr((lines, SOURCES)).encode()).hexdigest()[:16]

"""Item feature values: (items) -> [n, width] float32, as of the bundle's moment. Declared in `views`."""

import numpy as np

from recray.features.items import LONG_AGO, Items
from recray.features.user import DAY_S, signs
from recray.schema import Floats, Kind, Longs


def kind(items: Items) -> Floats:
    """Whether a series, and whether a documentary."""
    return np.stack((items.kind == Kind.SERIES, items.kind == Kind.DOCUMENTARY), axis=1).astype(np.float32)


def genres(items: Items) -> Floats:
    """Shares of the catalogue's most frequent genres; rarer ones have no column."""
    return items.genre_table


def _log_age_years(at_s: Longs, as_of_s: int) -> Floats:
    years = np.clip((as_of_s - np.maximum(at_s, as_of_s - 3_786_912_000)) / (365.25 * DAY_S), 0, 120)
    return np.where(at_s == LONG_AGO, np.nan, np.log1p(years)).astype(np.float32)[:, None]


def age_since_release(items: Items) -> Floats:
    """Log years since release; NaN when unknown."""
    return _log_age_years(items.release_at_s, items.as_of_s)


def age_since_added(items: Items) -> Floats:
    """Log years since the title joined the catalogue; NaN when unknown."""
    return _log_age_years(items.added_at_s, items.as_of_s)


def maturity(items: Items) -> Floats:
    """Minimum age over 18."""
    return (items.maturity / np.float32(18)).astype(np.float32)[:, None]


def language(items: Items) -> Floats:
    """Signs of the original language, and log number of languages offered."""
    words = [items.language_names[code] if code >= 0 else None for code in items.language]
    return np.column_stack((signs(words, 1), np.log1p(items.n_languages))).astype(np.float32)


def popularity(items: Items) -> Floats:
    """Log plays of 7 days, 30 days and all time, each relative to the catalogue's largest."""
    logs = np.log1p(items.plays)
    return (logs / np.maximum(logs.max(axis=0, keepdims=True), 1e-6)).astype(np.float32)


def regional_popularity(items: Items) -> Floats:
    """How unevenly regions watch the title: largest share of any region over the region's own share; 0 without regions."""
    if not items.regional_plays.size:
        return np.zeros((items.n, 1), np.float32)
    share = items.regional_plays / np.maximum(items.regional_plays.sum(axis=1, keepdims=True), 1e-6)
    return (share.max(axis=0) / np.maximum(share.sum(axis=0), 1e-9)).astype(np.float32)[:, None]


def completion(items: Items) -> Floats:
    """Mean share watched, shrunk to the catalogue's mean."""
    return items.completion.astype(np.float32)[:, None]


def content(items: Items) -> Floats:
    """The first five dimensions of the content vector."""
    width = min(5, items.content.shape[1])
    table = np.zeros((items.n, 5), np.float32)
    table[:, :width] = items.content[:, :width]
    return table


def rating(items: Items) -> Floats:
    """Shrunk mean rating over five stars."""
    return (items.rating / np.float32(5)).astype(np.float32)[:, None]

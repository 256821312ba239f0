"""Tables as arrays: the catalogue as `Items`, events as interactions and as packed words. No Ray, no files.

Title numbers are the row numbers of the titles table, which the lake keeps append-only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recray.catalog.columns import codes, look_up, seconds
from recray.catalog.licences import licences
from recray.errors import DataError, ModelError
from recray.features import fold
from recray.features.interactions import Interactions
from recray.features.items import LONG_AGO, Items
from recray.schema import (
    ACTION_OF,
    DEVICE_OF,
    KIND_OF,
    TITLES,
    WATCHING,
    Action,
    Bools,
    Device,
    Floats,
    Ints,
    Longs,
    ProfileKey,
    Words,
)

PRIOR_STRENGTH: Final = 10.0
"""How many plays' worth of the catalogue's mean a title's completion and rating start with."""
REGIONAL_HALF_LIFE_DAYS: Final = 30.0
ADULT: Final = 18
POOR_STARS: Final = 2.0
POOR_WEIGHT: Final = 0.3
"""A title rated two stars or less was still chosen, so it says something of taste, but less than one that pleased."""
ABANDONED_SHARE: Final = 0.1
ABANDONED_WEIGHT: Final = 0.2
"""A title left within its first tenth was a look, hardly a watch; kept above zero because the choice was real."""
_UNKNOWN_COMPLETION: Final = 0.5
_UNKNOWN_RATING: Final = 3.0
_DAY_S: Final = 86_400
_KEY: Final = ("user_id", "profile_id")
WATCHED: Final = (*_KEY, "content_id", "action", "event_at", "value", "progress")
"""Columns of events that `interactions` reads."""
_FACTS: Final = ("genre_names", "language_names", "region_names", "as_of_s")
_ARRAYS: Final = tuple(part.name for part in fields(Items) if part.name not in {*_FACTS, "content_ids", "names"})
_TABLE_FILE, _ARRAYS_FILE, _FACTS_FILE = "titles.parquet", "items.safetensors", "items.json"


def build_items(titles: pa.Table, availability: pa.Table, plays: Interactions, as_of_s: int, content: Floats) -> Items:
    """The catalogue as arrays, with statistics of the plays before `as_of_s`.

    Unknown maturity counts as 18 where any title of the set has one, else 0 (a set without certificates hides nothing).
    Unknown priority is 1; a title that lists no languages has as many as original languages it names. Windows of plays are
    half open, [as_of_s - 7 days, as_of_s), and sum weights. Completion and rating are means over the plays that know them,
    shrunk to the catalogue's mean (0.5 and 3 stars where no play knows any).

    Raises:
        DataError: `content` or `plays` are for another number of titles.
    """
    n = titles.num_rows
    if len(content) != n or plays.n_items > n:
        raise DataError(
            f"catalogue has {n} titles, content vectors are for {len(content)} and plays for {plays.n_items}; "
            "expected all of one data set: build them from the same titles table"
        )
    past = plays.where(plays.at_s < as_of_s)
    regions, from_s, until_s = licences(titles, availability, as_of_s)
    genre_names, genres = _genres(titles)
    language_names, language = codes(titles["original_language"])
    listed = pc.fill_null(pc.list_value_length(titles["languages"]), 0).to_numpy()
    return Items(
        content_ids=tuple(titles["content_id"].to_pylist()),
        names=tuple(titles["name"].to_pylist()),
        kind=look_up(titles["kind"], KIND_OF).astype(np.uint8),
        genre_names=genre_names,
        genres=genres,
        release_at_s=seconds(titles["release_date"], LONG_AGO),
        added_at_s=seconds(titles["added_at"], LONG_AGO),
        maturity=_maturity(titles["maturity"]),
        language_names=language_names,
        language=language,
        n_languages=np.where(listed > 0, listed, language >= 0).astype(np.int32),
        priority=pc.fill_null(titles["priority"], 1.0).to_numpy().astype(np.float32),
        duration_s=titles["duration_min"].to_numpy().astype(np.float32) * np.float32(60),
        content=np.ascontiguousarray(content, np.float32),
        plays=_windows(past, n, as_of_s),
        completion=_shrunk(past.item, past.progress, n, _UNKNOWN_COMPLETION),
        rating=_shrunk(past.item, past.rating, n, _UNKNOWN_RATING),
        as_of_s=as_of_s,
        region_names=regions,
        available_from_s=from_s,
        available_until_s=until_s,
        regional_plays=_regional(past, len(regions), n, as_of_s),
    )


def _genres(titles: pa.Table) -> tuple[tuple[str, ...], Bools]:
    column = titles["genres"].combine_chunks()
    names, code = codes(pa.chunked_array([column.flatten()]))
    marks = np.zeros((len(column), len(names)), np.bool_)
    row = pc.list_parent_indices(column).to_numpy()
    marks[row[code >= 0], code[code >= 0]] = True
    return names, marks


def _maturity(column: pa.ChunkedArray) -> Ints:
    absent = ADULT if column.null_count < len(column) else 0
    return pc.fill_null(column, absent).to_numpy().astype(np.int32)


def _windows(past: Interactions, n: int, as_of_s: int) -> Floats:
    """Weighted plays [n, 3] float32 of the last 7 and 30 days and of all time."""
    counts = np.empty((n, 3), np.float32)
    for column, since_s in enumerate((as_of_s - 7 * _DAY_S, as_of_s - 30 * _DAY_S, LONG_AGO)):
        weight = np.where(past.at_s >= since_s, past.weight, 0)
        counts[:, column] = np.bincount(past.item, weight, minlength=n)
    return counts


def _shrunk(item: Ints, value: Floats, n: int, unknown: float) -> Floats:
    known = ~np.isnan(value)
    item, value = item[known], value[known]
    mean = float(value.mean(dtype=np.float64)) if value.size else unknown
    total = np.bincount(item, value, minlength=n) + PRIOR_STRENGTH * mean
    return (total / (np.bincount(item, minlength=n) + PRIOR_STRENGTH)).astype(np.float32)


def _regional(past: Interactions, n_regions: int, n: int, as_of_s: int) -> Floats:
    """Plays by region [n_regions, n] float32, halved every `REGIONAL_HALF_LIFE_DAYS`."""
    known = (past.region >= 0) & (past.region < n_regions)
    weight = past.weight * np.exp2((past.at_s - as_of_s) / (REGIONAL_HALF_LIFE_DAYS * _DAY_S))
    cell = past.region[known].astype(np.int64) * n + past.item[known]
    return np.bincount(cell, weight[known], minlength=n_regions * n).reshape(n_regions, n).astype(np.float32)


def to_files(items: Items, titles: pa.Table) -> dict[str, bytes]:
    """File name -> content of a catalogue: `titles.parquet`, `items.safetensors` (arrays) and `items.json` (words).

    Raises:
        DataError: the table's rows are not the titles of `items` in their order.
    """
    if titles["content_id"].to_pylist() != list(items.content_ids) or titles["name"].to_pylist() != list(items.names):
        raise DataError(
            f"titles table of {titles.num_rows} rows does not hold the {items.n} titles of items in their order; "
            "expected the table that items were built from"
        )
    sink = pa.BufferOutputStream()
    pq.write_table(titles, sink, compression="zstd")
    arrays = {name: np.ascontiguousarray(getattr(items, name)) for name in _ARRAYS}
    facts = {name: getattr(items, name) for name in _FACTS}
    return {
        _TABLE_FILE: sink.getvalue().to_pybytes(),
        _ARRAYS_FILE: save(arrays),
        _FACTS_FILE: json.dumps(facts, sort_keys=True).encode(),
    }


def from_files(files: Mapping[str, bytes]) -> tuple[Items, pa.Table]:
    """The catalogue that `to_files` wrote; other files are ignored.

    Raises:
        ModelError: a file is missing, truncated, or does not fit the others.
    """
    try:
        titles = pq.read_table(pa.BufferReader(files[_TABLE_FILE])).select(TITLES.names).cast(TITLES)
        arrays = load(files[_ARRAYS_FILE])
        facts = json.loads(files[_FACTS_FILE])
        known: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        known |= {name: facts[name] if name == "as_of_s" else tuple(facts[name]) for name in _FACTS}
        items = Items(
            content_ids=tuple(titles["content_id"].to_pylist()),
            names=tuple(titles["name"].to_pylist()),
            **known,
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException, SafetensorError) as problem:
        raise ModelError(f"catalogue files {sorted(files)} cannot be read: {problem!r}; train a new bundle") from problem
    for name in _ARRAYS:
        _check_shape(name, getattr(items, name), items)
    return items, titles


def _check_shape(name: str, array: np.ndarray[Any, Any], items: Items) -> None:
    n, n_regions = items.n, len(items.region_names)
    by_region = name in {"available_from_s", "available_until_s", "regional_plays"}
    widths = {"genres": (len(items.genre_names),), "plays": (3,), "content": array.shape[1:]}
    expected = (n_regions, n) if by_region and n_regions else (n, *widths.get(name, ()))
    if array.shape != expected and not (by_region and not n_regions and not array.size):
        raise ModelError(f"catalogue array {name} has shape {array.shape}; expected {expected}: train a new bundle")


def interactions(
    events: pa.Table, number_of: Mapping[str, int], profiles: pa.Table, region_names: Sequence[str]
) -> tuple[Interactions, list[ProfileKey]]:
    """Watching events as columns sorted by (profile, time), ties in the order given, and who profile 0, 1, ... is.

    Profiles are numbered in the order in which they first appear in time. Events of unknown titles and of other actions are
    left out, and so are profiles that have no others. `complete` without progress was watched to the end. A profile without a
    country among `region_names` has region -1; the first row of a profile counts. Of `events` the columns `WATCHED` are read.
    """
    item = look_up(events["content_id"], number_of)
    action = look_up(events["action"], ACTION_OF)
    kept = np.flatnonzero((item >= 0) & np.isin(action, WATCHING))
    at_ms = events["event_at"].cast(pa.int64()).to_numpy()
    kept = kept[np.argsort(at_ms[kept], kind="stable")]
    profile, keys = _numbered(events, kept)
    by_profile = np.argsort(profile, kind="stable")
    kept, profile = kept[by_profile], profile[by_profile]
    action = action[kept]
    rating = np.where(action == Action.RATE, events["value"].to_numpy()[kept], np.nan)
    progress = events["progress"].to_numpy()[kept]
    progress = np.where(np.isnan(progress) & (action == Action.COMPLETE), 1.0, progress)
    weight = np.where(rating <= POOR_STARS, POOR_WEIGHT, 1.0)
    weight = np.where(progress < ABANDONED_SHARE, np.minimum(weight, ABANDONED_WEIGHT), weight)
    region = _regions(keys, profiles, region_names)
    watched = Interactions(
        profile=profile.astype(np.int32),
        item=item[kept].astype(np.int32),
        at_s=at_ms[kept] // 1_000,
        weight=weight.astype(np.float32),
        rating=rating.astype(np.float32),
        progress=progress.astype(np.float32),
        region=region[profile],
        n_profiles=len(keys),
        n_items=len(number_of),
    )
    return watched, keys


def _numbered(events: pa.Table, rows: Longs) -> tuple[Longs, list[ProfileKey]]:
    """Number of the profile of each of some rows [n], in the order in which these first show it, and the profiles.

    By the numbers of their words: as text, every row would be two strings of Python's.
    """
    coded = [events[column].dictionary_encode().unify_dictionaries().combine_chunks() for column in _KEY]
    words = [column.dictionary.to_pylist() for column in coded]
    user, within = (column.indices.to_numpy()[rows].astype(np.int64) for column in coded)
    number, known = pd.factorize(user * len(words[1]) + within)
    return number, [ProfileKey(words[0][both // len(words[1])], words[1][both % len(words[1])]) for both in known.tolist()]


def _regions(keys: Sequence[ProfileKey], profiles: pa.Table, region_names: Sequence[str]) -> Ints:
    """Region number of each profile [n_profiles], -1 unknown."""
    country = look_up(profiles["country"], {name: number for number, name in enumerate(region_names)})
    listed = pd.MultiIndex.from_arrays([profiles[column].to_pandas() for column in _KEY])
    first = ~listed.duplicated()
    asked = pd.MultiIndex.from_arrays([[getattr(key, column) for key in keys] for column in _KEY])
    row = listed[first].get_indexer(asked)
    return np.where(row >= 0, np.append(country[first], -1)[row], -1).astype(np.int32)


def words(events: pa.Table, number_of: Mapping[str, int]) -> tuple[Words, Bools]:
    """Packed events of known titles in the order given, and which rows [n_events] bool those are.

    Equal to `fold.pack` with `fold.packed_value` of each row; an absent or unknown device is OTHER.

    Raises:
        DataError: an action that is none.
    """
    item = look_up(events["content_id"], number_of)
    action = look_up(events["action"], ACTION_OF)
    if (action < 0).any():
        strange = events["action"][int(np.argmax(action < 0))]
        raise DataError(f"events have action {strange}; expected one of {', '.join(ACTION_OF)}: import the set anew")
    kept = item >= 0
    device = np.maximum(look_up(events["device"], DEVICE_OF), Device.OTHER)
    at_s = events["event_at"].cast(pa.int64()).to_numpy() // 1_000
    value = _packed_values(action, events["value"].to_numpy(), events["progress"].to_numpy())
    parts = (part[kept].astype(np.int32) for part in (item, action, device, value))
    return fold.pack(at_s[kept], *parts), kept


def _packed_values(action: Longs, rating: Floats, progress: Floats) -> Ints:
    """`fold.packed_value` of columns, in the same float64 arithmetic; NaN is absent."""
    stars = np.rint(np.clip(np.nan_to_num(rating.astype(np.float64)) * 2.0, 0.0, 10.0))
    finished = (action == Action.COMPLETE) | (action == Action.RATE)
    share = np.where(np.isnan(progress), finished, np.clip(progress.astype(np.float64), 0.0, 1.0))
    within = share + 1e-6

    def steps(n: int) -> Longs:
        down = (within * n).astype(np.int64)
        return np.where(within >= float(fold.FINISHED), np.maximum(down, fold.finished_steps(n)), down)

    return np.where(action == Action.RATE, stars.astype(np.int64) << 2 | steps(3), steps(63)).astype(np.int32)

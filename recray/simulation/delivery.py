"""Adds the delivery facts that rating data sets lack: regions, licences, maturity, devices, progress. All of it is made up.

`simulate` fills only what is absent and names every column it touched, so that nothing simulated passes for real. It adds no
title and no event. Draws about a profile or title are keyed by its id: the same in every set and order; draws about events
follow the order of the events.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from recray.data.raw import RawTables
from recray.schema import TABLES, Action, Device, word

Draws = NDArray[np.float64]
"""Uniform numbers in [0, 1)."""


@dataclasses.dataclass(slots=True, frozen=True)
class Region:
    """A market: its share of the profiles, the language most of them speak, and its clock."""

    name: str
    share: float
    language: str
    utc_offset_h: int


REGIONS: Final = (
    Region("US", 0.40, "en", -6),
    Region("GB", 0.15, "en", 0),
    Region("BR", 0.13, "pt", -3),
    Region("DE", 0.12, "de", 1),
    Region("FR", 0.10, "fr", 1),
    Region("JP", 0.10, "ja", 9),
)
UNLICENSED_SHARE: Final = 0.08
"""Chance of a title to be missing in a region; it stays in at least one."""
_MAIN_LANGUAGE_SHARE: Final = 0.93
_ORIGINALS: Final = (("en", 0.72), ("fr", 0.08), ("ja", 0.06), ("de", 0.05), ("it", 0.05), ("pt", 0.04))
_DUB_SHARE: Final = 0.6
_MATURITIES: Final = np.array([0, 7, 13, 16, 18])
_CHILDRENS: Final = ("Children", "Children's", "Kids", "Family")
_MATURITY_OF_GENRE: Final = {
    "Animation": 1,
    "Musical": 1,
    "Documentary": 1,
    "Comedy": 2,
    "Fantasy": 1,
    "Adventure": 1,
    "Romance": 2,
    "Western": 2,
    "Action": 2,
    "Sci-Fi": 2,
    "Mystery": 2,
    "Drama": 2,
    "War": 3,
    "Film-Noir": 3,
    "Crime": 3,
    "Thriller": 3,
    "Horror": 4,
}
"""Index into _MATURITIES of a title's strictest genre; a children's title is 0 or 7 whatever else it is."""
CHILD_LIMIT: Final = 7
_CHILD_SHARE: Final = {"under-18": 0.5}
_UNKNOWN_CHILD_SHARE: Final = 0.03
_FINISHED_OF_STARS: Final = ((0.0, 0.25), (1.0, 0.35), (2.0, 0.55), (3.0, 0.78), (4.0, 0.92), (5.0, 0.97))
_LAST_EVENTS: Final = 5
_LAST_UNFINISHED: Final = 0.35
"""Of a profile's last few ratings this share is unfinished, so that there is something to continue watching."""


def simulate(raw: RawTables, seed: int) -> RawTables:
    """The data set with delivery facts where it had none, and `simulated` naming each `table.column` that was filled.

    Profiles get country, language and, some of them, a child's maturity limit; titles maturity (by genre), duration, original
    and available languages; a set without availability gets licences by region; events a device (by local hour and the
    profile's habit) and ratings a progress (what was liked is finished more often; some of a profile's last few are not).
    """
    profiles = _fill(raw.tables["profiles"], _profile_columns(raw.tables["profiles"], seed))
    titles = _fill(raw.tables["titles"], _title_columns(raw.tables["titles"], seed))
    events = _fill(raw.tables["events"], _event_columns(raw.tables["events"], profiles[0], titles[0], seed))
    filled = [
        f"{table}.{column}"
        for table, (_, names) in (("profiles", profiles), ("titles", titles), ("events", events))
        for column in names
    ]
    tables = {**raw.tables, "profiles": profiles[0], "titles": titles[0], "events": events[0]}
    if not tables["availability"].num_rows:
        tables["availability"] = _availability(titles[0]["content_id"].to_pylist(), seed)
        filled += [f"availability.{column}" for column in ("content_id", "region")]
    return dataclasses.replace(raw, tables=tables, simulated=tuple(dict.fromkeys((*raw.simulated, *filled))))


def draws(keys: Sequence[str], seed: int, purpose: str, n: int) -> Draws:
    """Uniform numbers [len(keys), n], n <= 8, that depend on key, seed and purpose alone."""
    base = hashlib.blake2b(f"{seed}/{purpose}/".encode(), digest_size=8 * n)
    out = bytearray()
    for key in keys:
        state = base.copy()
        state.update(key.encode())
        out += state.digest()
    numbers = np.frombuffer(bytes(out), np.uint64).reshape(len(keys), n)
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _fill(table: pa.Table, columns: Mapping[str, pa.Array]) -> tuple[pa.Table, list[str]]:
    """The table with nulls replaced, and the names of columns in which there were any to replace."""
    filled = []
    for name, values in columns.items():
        old = table[name].combine_chunks()
        new = pa.array(values, table.schema.field(name).type, from_pandas=True)
        if old.null_count and new.null_count < len(new):
            merged = old.is_null().to_numpy(zero_copy_only=False)
            chosen = pa.compute.if_else(pa.array(merged), new, old)
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), chosen)
            filled.append(name)
    return table, filled


def _pick(uniform: Draws, shares: Sequence[float]) -> NDArray[np.int64]:
    edges = np.cumsum(shares)
    return np.minimum(np.searchsorted(edges / edges[-1], uniform, side="right"), len(edges) - 1)


def _profile_columns(profiles: pa.Table, seed: int) -> dict[str, Any]:
    accounts = profiles["user_id"].to_pylist()
    keys = [f"{user}/{profile}" for user, profile in zip(accounts, profiles["profile_id"].to_pylist(), strict=True)]
    region = _pick(draws(accounts, seed, "region", 1)[:, 0], [r.share for r in REGIONS])
    own = draws(keys, seed, "profile", 3)
    spoken = np.array([r.language for r in REGIONS])[region]
    other = np.array([r.language for r in REGIONS])[_pick(own[:, 1], [r.share for r in REGIONS])]
    age = profiles["age_group"].to_pylist()
    child_share = np.array([_UNKNOWN_CHILD_SHARE if group is None else _CHILD_SHARE.get(group, 0.0) for group in age])
    return {
        "country": np.array([r.name for r in REGIONS])[region],
        "language": np.where(own[:, 0] < _MAIN_LANGUAGE_SHARE, spoken, other),
        "maturity_limit": [CHILD_LIMIT if is_child else None for is_child in own[:, 2] < child_share],
    }


def _title_columns(titles: pa.Table, seed: int) -> dict[str, Any]:
    genres = titles["genres"].to_pylist()
    own = draws(titles["content_id"].to_pylist(), seed, "title", 8)
    original = np.array([language for language, _ in _ORIGINALS])[_pick(own[:, 0], [share for _, share in _ORIGINALS])]
    spoken = sorted({region.language for region in REGIONS})
    dubbed = own[:, 1:6] < _DUB_SHARE
    return {
        "maturity": _maturity(genres, own[:, 6]),
        "duration_min": np.round(_typical_duration(genres) + 24 * (own[:, 7] - 0.5) * 2).astype(np.float32),
        "original_language": original,
        "languages": [
            sorted({first, *(language for language, is_dubbed in zip(spoken, row, strict=True) if is_dubbed)})
            for first, row in zip(original, dubbed, strict=True)
        ],
    }


def _maturity(genres: Sequence[Sequence[str]], uniform: Draws) -> NDArray[np.int64]:
    """Minimum ages [n]: by the strictest genre, one step up or down for three titles in ten."""
    strictest = np.array([max((_MATURITY_OF_GENRE.get(genre, 2) for genre in names), default=2) for names in genres])
    step = np.where(uniform < 0.15, -1, np.where(uniform >= 0.85, 1, 0))
    level = np.clip(strictest + step, 0, len(_MATURITIES) - 1)
    childrens = np.array([any(genre in _CHILDRENS for genre in names) for names in genres])
    return _MATURITIES[np.where(childrens, (uniform >= 0.5).astype(np.int64), level)]


def _typical_duration(genres: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    return np.array([82.0 if {"Animation", "Documentary", *_CHILDRENS} & set(names) else 107.0 for names in genres])


def _availability(content_ids: Sequence[str], seed: int) -> pa.Table:
    uniform = draws(content_ids, seed, "licence", len(REGIONS))
    licensed = uniform >= UNLICENSED_SHARE
    licensed[np.arange(len(content_ids)), uniform.argmax(axis=1)] = True
    title, region = np.nonzero(licensed)
    n = len(title)
    columns = [
        pa.array(content_ids).take(pa.array(title)),
        pa.array([r.name for r in REGIONS]).take(pa.array(region)),
        pa.nulls(n, TABLES["availability"].field("start_at").type),
        pa.nulls(n, TABLES["availability"].field("end_at").type),
    ]
    return pa.table(columns, schema=TABLES["availability"])


def _event_columns(events: pa.Table, profiles: pa.Table, titles: pa.Table, seed: int) -> dict[str, Any]:
    if not events.num_rows:
        return {}
    generator = np.random.default_rng(seed)
    facts = (
        pl.DataFrame(pl.from_arrow(events.select(["user_id", "profile_id", "content_id", "action", "event_at", "value"])))
        .with_columns(key=pl.format("{}/{}", "user_id", "profile_id"))
        .join(_keyed_regions(profiles), on="key", how="left", maintain_order="left")
        .join(
            pl.DataFrame(pl.from_arrow(titles.select(["content_id", "duration_min"]))),
            on="content_id",
            how="left",
            maintain_order="left",
        )
    )
    is_rating = (facts["action"] == word(Action.RATE)).to_numpy()
    progress = np.where(is_rating, _progress(facts, generator), np.nan).astype(np.float32)
    return {
        "device": _devices(facts, seed, generator),
        "progress": progress,
        "watch_s": (progress * facts["duration_min"].to_numpy() * 60).astype(np.float32),
    }


def _keyed_regions(profiles: pa.Table) -> pl.DataFrame:
    offsets = {region.name: region.utc_offset_h for region in REGIONS}
    return (
        pl.DataFrame(pl.from_arrow(profiles.select(["user_id", "profile_id", "country"])))
        .select(
            key=pl.format("{}/{}", "user_id", "profile_id"),
            offset_h=pl.col("country").replace_strict(offsets, default=0, return_dtype=pl.Int64),
        )
        .unique("key", keep="first")
    )


def _progress(facts: pl.DataFrame, generator: np.random.Generator) -> Draws:
    """Share watched [n]: finished (0.92..1) with a chance that grows with the stars, else left somewhere from 0.05 to 0.85."""
    stars, chance = zip(*_FINISHED_OF_STARS, strict=True)
    finished_chance = np.interp(facts["value"].fill_null(3.0).to_numpy(), stars, chance)
    from_end = facts.select(pl.col("event_at").rank("ordinal", descending=True).over("key")).to_series().to_numpy()
    uniform = generator.random((3, len(facts)))
    finished = (uniform[0] < finished_chance) & ~((from_end <= _LAST_EVENTS) & (uniform[1] < _LAST_UNFINISHED))
    return np.where(finished, 0.92 + 0.08 * uniform[2], 0.05 + 0.8 * uniform[2])


def _devices(facts: pl.DataFrame, seed: int, generator: np.random.Generator) -> NDArray[np.str_]:
    """Device words [n]: television in the evening, mobile by day, desktop in working hours, bent by each profile's habit."""
    keys = facts["key"].unique(maintain_order=True)
    number = facts["key"].replace_strict(keys, pl.int_range(len(keys), eager=True)).to_numpy()
    habit = -np.log(draws(keys.to_list(), seed, "device", len(Device)) + 1e-9)
    hour = ((facts["event_at"].dt.hour().cast(pl.Int64) + facts["offset_h"].fill_null(0)) % 24).to_numpy()
    by_hour = np.empty((24, len(Device)))
    hours = np.arange(24)
    by_hour[:, Device.OTHER] = 0.03
    by_hour[:, Device.TV] = np.where((hours >= 18) | (hours < 1), 0.65, 0.25)
    by_hour[:, Device.MOBILE] = np.where((hours >= 6) & (hours < 18), 0.4, 0.25)
    by_hour[:, Device.DESKTOP] = np.where((hours >= 9) & (hours < 18), 0.3, 0.12)
    edges = np.cumsum(by_hour[hour] * habit[number], axis=1)
    chosen = (generator.random((len(facts), 1)) * edges[:, -1:] >= edges).sum(axis=1)
    return np.array([word(device) for device in Device])[np.minimum(chosen, len(Device) - 1)]

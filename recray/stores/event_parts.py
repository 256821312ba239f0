"""How events lie in Parquet: one folder per UTC day, rows in (event_at, event_id) order, and which rows a window takes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recray.schema import EVENTS

_DAY_MS: Final = 86_400_000
_DAY_S: Final = 86_400
ORDER: Final = ("event_at", "event_id")
_ONCE: Final = ("user_id", "profile_id", "event_id")
_MAX_S: Final = np.iinfo(np.int64).max // 1_000


def in_order(rows: pa.Table) -> pa.Table:
    """Rows sorted by (event_at, event_id)."""
    return rows.sort_by([(column, "ascending") for column in ORDER])


def by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Folder name and rows of each UTC day that has any, both in order."""
    rows = in_order(rows)
    day = rows["event_at"].cast(pa.int64()).to_numpy() // _DAY_MS
    bounds = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
    for start, end in pairwise(bounds):
        if end > start:
            yield f"event_date={day[start].astype('datetime64[D]')}", rows.slice(start, end - start)


def first_rows(rows: pa.Table) -> pa.Table:
    """Rows without those that repeat an event_id of the same profile; the first one stays."""
    kept = pl.DataFrame(pl.from_arrow(rows.select(_ONCE))).select(pl.struct(_ONCE).is_first_distinct()).to_series()
    return rows if kept.all() else rows.filter(kept.to_arrow())


def day_start_s(folder: str) -> int:
    """When the day of a folder begins, in seconds since 1970."""
    return int(np.datetime64(folder.removeprefix("event_date="), "s").astype(np.int64))


def overlapping(files: Sequence[str], start_s: int | None, end_s: int | None) -> list[str]:
    """Files whose day has a moment in [start_s, end_s)."""

    def overlaps(file: str) -> bool:
        day_s = day_start_s(Path(file).parent.name)
        return (start_s is None or day_s + _DAY_S > start_s) and (end_s is None or day_s < end_s)

    return [file for file in files if overlaps(file)]


def day_is_over(folder: str, now_s: int, late_s: int) -> bool:
    """Whether no event of a folder's day can come any more, given how late events may come."""
    return day_start_s(folder) + _DAY_S + late_s < now_s


def between(start_s: int | None, end_s: int | None) -> ds.Expression:
    """The filter start_s <= event_at < end_s; None is no bound."""
    at, kind = pc.field("event_at"), EVENTS.field("event_at").type
    kept = pc.scalar(True)
    for bound_s, keeps in ((start_s, at.__ge__), (end_s, at.__lt__)):
        if bound_s is not None:
            kept &= keeps(pa.scalar(min(max(bound_s, -_MAX_S), _MAX_S) * 1_000, pa.int64()).cast(kind))
    return kept

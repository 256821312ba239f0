"""What an adapter hands to `ingest`: the canonical tables as read, with where they came from and what was refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recray.schema import TABLES, Longs

REJECTS: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
MAIN_PROFILE: Final = "main"
"""The profile of an account whose data set knows accounts only."""
_ROW_DIGITS: Final = 9
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclass(slots=True, frozen=True)
class Origin:
    """Which file a table was read from, and for each row of the table its number in that file.

    CSV counts the header as row 1, so that the number is the one a spreadsheet shows; Parquet counts from 1. No `rows`: the
    table's own order from 1.
    """

    file: str
    rows: Longs | None = None


@dataclass(slots=True, frozen=True)
class RawTables:
    """A data set in canonical columns, not yet validated.

    `tables` has every table of `schema.TABLES` in its schema; one that the set does not know is empty. `rejects` (schema
    REJECTS) holds the rows that could not even be read, `refused` the `user/profile` keys of unreadable profiles (their
    events must not return under a profile without its limits). `simulated` names `table.column` that were made up.
    """

    tables: Mapping[str, pa.Table]
    source: str
    licence: str
    citation: str
    sha256: str
    rejects: pa.Table = field(default_factory=REJECTS.empty_table)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    simulated: tuple[str, ...] = ()


def conform(name: str, frame: pl.DataFrame) -> pa.Table:
    """A frame as the Arrow table `name` of `schema.TABLES`: columns in order, absent ones null, others left out.

    A map is given as list of {key, value}. A null in a required column passes: `ingest` refuses the row and says so.
    """
    arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    columns = []
    for column in TABLES[name]:
        if column.name not in frame.columns or frame[column.name].dtype == pl.Null:
            columns.append(pa.nulls(len(frame), column.type))
        elif pa.types.is_map(column.type):
            columns.append(_as_map(arrow[column.name].combine_chunks()))
        else:
            columns.append(arrow[column.name].cast(column.type))
    return pa.table(columns, schema=TABLES[name])


def complete(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The given tables and an empty one for each that the data set does not know."""
    return {name: tables[name] if name in tables else schema.empty_table() for name, schema in TABLES.items()}


def event_ids(*fields: Longs) -> pl.Series:
    """Event ids [n] that sort in row order and digest the row's fields: `000000041-9f86d081`.

    Sorting by (event_at, event_id) so keeps the order of the raw file among equal timestamps, which decides about a quarter
    of the leave-one-out targets of MovieLens; the digest keeps ids of different data sets apart.
    """
    n = len(fields[0])
    digest = np.zeros(n, np.uint64)
    for values in fields:
        digest = _mixed(digest ^ values.astype(np.uint64))
    rows = np.arange(n)[:, None] // 10 ** np.arange(_ROW_DIGITS)[::-1] % 10
    nibbles = (digest[:, None] >> np.arange(0, 32, 4, dtype=np.uint64)) & np.uint64(15)
    letters = np.empty((n, _ROW_DIGITS + 9), np.uint8)
    letters[:, :_ROW_DIGITS] = rows + ord("0")
    letters[:, _ROW_DIGITS] = ord("-")
    letters[:, _ROW_DIGITS + 1 :] = _HEX[nibbles]
    return pl.Series("event_id", _strings(letters))


def _mixed(values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The splitmix64 finalizer: the same on every machine and in every version."""
    values = values + _MIX[0]
    values = (values ^ (values >> np.uint64(30))) * _MIX[1]
    values = (values ^ (values >> np.uint64(27))) * _MIX[2]
    return values ^ (values >> np.uint64(31))


def _strings(letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> pa.Array:
    n, width = letters.shape
    offsets = (np.arange(n + 1, dtype=np.int64) * width).tobytes()
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(letters.tobytes()))


def _as_map(entries: pa.Array) -> pa.Array:
    entries = entries.cast(pa.list_(entries.type.value_type))
    keys, values = (entries.flatten().field(name).cast(pa.string()) for name in ("key", "value"))
    lengths = entries.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32(), mask=None)
    if entries.null_count:
        absent = np.append(entries.is_null().to_numpy(zero_copy_only=False), [False])
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), mask=absent)
    return pa.MapArray.from_arrays(offsets, keys, values)

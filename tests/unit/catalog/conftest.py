"""Tables of the schema from a few columns written by hand."""

import datetime as dt
from typing import Any

import pyarrow as pa

from recray.schema import TABLES

NOW = 1_700_000_000


def moment(at_s: float | None) -> dt.datetime | None:
    return None if at_s is None else dt.datetime.fromtimestamp(at_s, dt.UTC)


def table_of(name_of_table: str, /, **columns: list[Any]) -> pa.Table:
    """A table of the schema with these columns; the others are null, or what is commonest where null is not allowed."""
    schema = TABLES[name_of_table]
    n = len(next(iter(columns.values())))
    common = {"kind": "movie", "genres": [], "profile_id": "p", "action": "play", "user_id": "u"}

    def cells(name: str) -> list[Any]:
        if name in columns:
            return columns[name]
        if name in {"name", "event_id"}:
            return [f"{name} {i}" for i in range(n)]
        return [common.get(name)] * n

    return pa.table([pa.array(cells(field.name), field.type) for field in schema], schema=schema)

"""Tables of the schema from a few columns written by hand."""

from typing import Any

import pyarrow as pa

from recray.schema import TABLES


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

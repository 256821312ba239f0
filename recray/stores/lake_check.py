"""Whether a table fits the schema, and its columns in the schema's types and order: shapes, not sense."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recray.errors import DataError
from recray.schema import ACTION_OF, DEVICE_OF, KIND_OF, TABLES

_VOCABULARY: Final[Mapping[tuple[str, str], Mapping[str, int]]] = {
    ("titles", "kind"): KIND_OF,
    ("events", "action"): ACTION_OF,
    ("events", "device"): DEVICE_OF,
}


def checked(name: str, table: pa.Table) -> pa.Table:
    """The table with the schema's columns, types and order.

    Raises:
        DataError: naming the table and the column that does not fit.
    """
    if name not in TABLES:
        raise DataError(f"table {name!r} is not one of {', '.join(TABLES)}")
    schema = TABLES[name]
    if unknown := [column for column in table.column_names if column not in schema.names]:
        raise DataError(f"table {name} has column {unknown[0]!r}; expected {', '.join(schema.names)}: rename or drop it")
    if repeated := [column for column in schema.names if table.column_names.count(column) > 1]:
        raise DataError(f"table {name} has column {repeated[0]!r} more than once; expected it once: drop the others")
    fitting = pa.table([_column(name, table, field) for field in schema], schema=schema)
    if name == "titles" and fitting.num_rows != pc.count_distinct(fitting["content_id"]).as_py():
        raise DataError("table titles has a repeated value in column 'content_id'; expected one row per title: merge them")
    return fitting


def _column(name: str, table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        if field.nullable:
            return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        raise DataError(f"table {name} has no column {field.name!r}; expected {field.type}: add it")
    column = table[field.name]
    try:
        column = column.cast(field.type)
    except pa.ArrowException as problem:
        raise DataError(f"table {name} column {field.name!r} is {column.type}; expected {field.type}: {problem}") from problem
    if column.null_count and not field.nullable:
        row = pc.index(column.is_null(), True).as_py()
        raise DataError(f"table {name} column {field.name!r} is null in row {row}; expected a value: reject the row")
    if words := _VOCABULARY.get((name, field.name)):
        strange = column.filter(pc.invert(pc.is_in(column, pa.array([*words, None], pa.string()))))
        if len(strange):
            raise DataError(f"table {name} column {field.name!r} has {strange[0]}; expected one of {', '.join(words)}")
    return column

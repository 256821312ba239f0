"""Reads the general form: `titles`, `profiles`, `events`, `availability`, `follows` as .csv or .parquet files of one directory.

A missing optional column is null. A cell that is not what its column holds refuses its row, with file, row, column and reason;
whether the rows make sense together is judged by `ingest`. In CSV a list is parted by `|`, a map is `key=value` parted by `|`.
"""

import io
from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from recray.data.archive import Archive
from recray.data.raw import REJECTS, Origin, RawTables, complete, conform
from recray.errors import DataError
from recray.schema import TABLES, Longs

_LEAST_MS: Final = 1e11
"""A number at least this large is milliseconds since 1970, a smaller one seconds (until the year 5138)."""
_AT: Final = "%Y-%m-%d %H:%M:%S%.f%z"
_ANY_ROW: Final = "*"
"""The column of a reject that concerns the whole row."""


def read(archive: Archive) -> RawTables:
    """The directory's (or archive's) tables as far as their cells can be read, and the rows that were refused.

    Raises:
        DataError: no titles, a table both as CSV and Parquet, a file that is neither, or a required column missing.
    """
    tables, rejects, origins, ignored = {}, [], {}, []
    refused: frozenset[str] = frozenset()
    for name in TABLES:
        found = [file for kind in ("csv", "parquet") for file in archive.find(f"{name}.{kind}")]
        if len(found) > 1:
            raise DataError(f"{archive.path} holds {' and '.join(found)}; expected one file of {name}: remove the others")
        if not found:
            continue
        frame, rows, broken = _cells(found[0], archive.bytes_of(found[0]))
        _require(name, found[0], frame.columns)
        parsed, faults = _parse(name, frame)
        bad = faults["column"].is_not_null()
        rejects += [broken, _rejects(found[0], rows, faults)]
        tables[name] = conform(name, parsed.filter(~bad))
        origins[name] = Origin(found[0], rows[~bad.to_numpy()])
        ignored += [f"{name}.{column}" for column in frame.columns if column not in TABLES[name].names]
        if name == "profiles":
            refused = frozenset(parsed.filter(bad).select(pl.format("{}/{}", "user_id", "profile_id")).to_series().drop_nulls())
    if "titles" not in tables:
        raise DataError(f"{archive.path} holds no titles.csv or titles.parquet; see datasets/README.md for the general form")
    return RawTables(
        tables=complete(tables),
        source=str(archive.path),
        licence="as given by the owner of the files",
        citation="",
        sha256=archive.sha256(),
        rejects=pa.concat_tables(rejects),
        origins=origins,
        refused=refused,
        ignored=tuple(ignored),
    )


def _cells(file: str, content: bytes) -> tuple[pl.DataFrame, Longs, pa.Table]:
    """Cells as they stand, each row's number in the file, and rows of another width than the header (CSV: all text)."""
    broken: list[int] = []
    try:
        if file.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(content))
            rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
        else:
            table, broken = _csv(content)
            rows = np.setdiff1d(np.arange(2, table.num_rows + len(broken) + 2, dtype=np.int64), broken)
        frame = pl.DataFrame(pl.from_arrow(table))
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as problem:
        raise DataError(f"{file} cannot be read ({problem}); give UTF-8 CSV with a header, or Parquet") from problem
    reason = f"expected {len(frame.columns)} fields, as many as the header has"
    faults = {"file": [file] * len(broken), "row": broken, "column": [_ANY_ROW] * len(broken), "reason": [reason] * len(broken)}
    return frame, rows, pa.table(faults, schema=REJECTS)


def _csv(content: bytes) -> tuple[pa.Table, list[int]]:
    """All cells as text, and the numbers of the rows that have more or fewer fields than the header."""
    broken: list[int] = []

    def skip(row: pc.InvalidRow) -> str:
        broken.append(row.number)
        return "skip"

    layout = pc.ParseOptions(newlines_in_values=True, invalid_row_handler=skip)
    header = pc.open_csv(io.BytesIO(content), parse_options=layout).schema.names
    broken.clear()
    table = pc.read_csv(
        io.BytesIO(content),
        read_options=pc.ReadOptions(use_threads=False),  # only then are broken rows numbered
        parse_options=layout,
        convert_options=pc.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return table, broken


def _require(name: str, file: str, found: list[str]) -> None:
    missing = [field.name for field in TABLES[name] if not field.nullable and field.name not in found]
    if missing:
        raise DataError(
            f"{file} lacks the required columns {', '.join(missing)}; it has {', '.join(found)}: see datasets/README.md"
        )


def _parse(name: str, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Columns in their types, null where a cell could not be read, and the first fault of each row (column, reason)."""
    fields = [field for field in TABLES[name] if field.name in frame.columns]
    raw = frame.select(field.name for field in fields)
    cells = {field.name: _reader(field.type, raw.schema[field.name])(pl.col(field.name)) for field in fields}
    # A title without genres is a title: in CSV its empty list is an empty cell.
    cells |= {
        field.name: cells[field.name].fill_null([]) for field in fields if pa.types.is_list(field.type) and not field.nullable
    }
    parsed = raw.select(cell.alias(name) for name, cell in cells.items())
    faults = []
    for field in fields:
        unread = raw[field.name].is_not_null() & parsed[field.name].is_null()
        empty = parsed[field.name].is_null() & (not field.nullable)
        faults.append(
            pl.when(unread)
            .then(pl.struct(column=pl.lit(field.name), reason=pl.lit(f"not {_meaning(field.type)}")))
            .when(empty)
            .then(pl.struct(column=pl.lit(field.name), reason=pl.lit("required, but empty")))
        )
    if not len(frame):
        return parsed, pl.DataFrame(schema={"column": pl.String, "reason": pl.String})
    return parsed, frame.select(pl.coalesce(faults).alias("fault")).unnest("fault")


def _rejects(file: str, rows: Longs, faults: pl.DataFrame) -> pa.Table:
    bad = faults.with_columns(row=pl.Series(rows), file=pl.lit(file)).filter(pl.col("column").is_not_null())
    return bad.select(REJECTS.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REJECTS)


def _meaning(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "a time (ISO 8601, or seconds or milliseconds since 1970)"
    if pa.types.is_date(kind):
        return "a date (YYYY-MM-DD)"
    if pa.types.is_integer(kind):
        return f"a whole number of {kind}"
    if pa.types.is_floating(kind):
        return "a finite number"
    return "true or false" if pa.types.is_boolean(kind) else "a list parted by |" if pa.types.is_list(kind) else "text"


def _reader(kind: pa.DataType, given: pl.DataType) -> Callable[[pl.Expr], pl.Expr]:
    """How a column that is `given` becomes one of the schema's `kind`; what cannot be read becomes null."""
    if pa.types.is_timestamp(kind):
        return (
            _time
            if given == pl.String or given.is_numeric()
            else lambda cell: cell.cast(pl.Datetime("ms", "UTC"), strict=False)
        )
    if pa.types.is_date(kind):
        return (
            (lambda cell: cell.str.strip_chars().str.to_date("%Y-%m-%d", strict=False)) if given == pl.String else _as(pl.Date)
        )
    if pa.types.is_integer(kind):
        return lambda cell: (
            _number(cell).pipe(lambda number: pl.when(number == number.round()).then(number)).cast(pl.Int16, strict=False)
        )
    if pa.types.is_floating(kind):
        return lambda cell: _number(cell).cast(pl.Float32)
    if pa.types.is_boolean(kind):
        return _truth if given == pl.String else _as(pl.Boolean)
    if pa.types.is_list(kind):
        return _list if given == pl.String else _as(pl.List(pl.String))
    if pa.types.is_map(kind):
        return _map if given == pl.String else lambda cell: cell
    return _as(pl.String)


def _as(kind: pl.DataType | type[pl.DataType]) -> Callable[[pl.Expr], pl.Expr]:
    return lambda cell: cell.cast(kind, strict=False)


def _number(cell: pl.Expr) -> pl.Expr:
    number = cell.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _time(cell: pl.Expr) -> pl.Expr:
    """ISO 8601 with `T` or a space, with or without time, seconds and offset (UTC when absent), or a number since 1970."""
    text = cell.cast(pl.String).str.strip_chars()
    number = _number(text)
    epoch = pl.when(number.abs() >= _LEAST_MS).then(number).otherwise(number * 1000).cast(pl.Int64, strict=False)
    whole = (
        text.str.replace("[Tt]", " ")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1} 00:00")
        .str.replace(r"^(\S+ \d{2}:\d{2})($|[Zz]|[+-])", "${1}:00${2}")
        .str.replace(r"[Zz]$", "+00:00")
        .str.replace(r"^(\S+ [0-9:.]+)$", "${1}+00:00")
    )
    written = whole.str.to_datetime(_AT, time_unit="ms", time_zone="UTC", strict=False)
    return pl.coalesce(written, epoch.cast(pl.Datetime("ms", "UTC")))


def _truth(cell: pl.Expr) -> pl.Expr:
    spelled = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return cell.str.strip_chars().str.to_lowercase().replace_strict(spelled, default=None, return_dtype=pl.Boolean)


def _list(cell: pl.Expr) -> pl.Expr:
    return cell.str.split("|").list.eval(pl.element().str.strip_chars()).list.filter(pl.element() != "")


def _map(cell: pl.Expr) -> pl.Expr:
    pair = pl.element().str.split_exact("=", 1).struct.rename_fields(["key", "value"])
    return cell.str.split("|").list.eval(pair)

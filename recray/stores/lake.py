"""The offline store: which data sets have been imported, and their tables.

A set is `<root>/<name>/` with `manifest.json`, `titles.parquet`, and, where the set has them, `availability.parquet`,
`profiles.parquet`, `follows.parquet` and `events/event_date=YYYY-MM-DD/*.parquet` (UTC dates). `<name>` is a symbolic link to a
hidden directory that holds one version, so a set is replaced in one step. The lake validates shapes, not sense: rows are
judged by the import.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from recray.errors import DataError
from recray.features.fold import MAX_TITLES
from recray.schema import ACTION_OF, DEVICE_OF, EVENTS, KIND_OF, TABLES

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # without a dot, so that `.name.7` belongs to one set only
_DAY_MS: Final = 86_400_000
_DAY_S: Final = 86_400
_ORDER: Final = ("event_at", "event_id")
_VOCABULARY: Final[Mapping[tuple[str, str], Mapping[str, int]]] = {
    ("titles", "kind"): KIND_OF,
    ("events", "action"): ACTION_OF,
    ("events", "device"): DEVICE_OF,
}
_MAX_S: Final = np.iinfo(np.int64).max // 1_000


class Lake:
    """Imported data sets under a local directory; any number of readers, one writer per set at a time.

    A reader that is under way while its set is replaced may find its version gone and get a DataError: it asks again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The directory that holds the sets; the import leaves the rows it refused beside them."""
        return self._root

    def names(self) -> list[str]:
        """Sets that are complete, in alphabetical order; what an interrupted import left behind is not listed."""
        if not self._root.is_dir():
            return []
        return sorted(path.parent.name for path in self._root.glob("[!.]*/manifest.json"))

    def write(self, name: str, tables: Mapping[str, pa.Table], manifest: dict[str, Any]) -> Path:
        """Replace a set by a whole new version, or add it; returns the set's path.

        Titles keep the numbers (row order) that the previous version gave them: new titles follow, and a title that is no
        longer in `tables` stays with its old row. Missing optional columns become null. Killed at any point, the lake
        holds either the old version or the new one.

        Raises:
            DataError: naming the table and column that does not fit `schema.TABLES`, or the previous version's titles cannot
                be read, so that numbers would change; nothing is written then.
        """
        if not _NAME.fullmatch(name):
            raise DataError(f"data set name {name!r} cannot be a folder; expected letters, digits, '-' and '_'")
        checked = {table: _checked(table, rows) for table, rows in tables.items()}
        if "titles" not in checked:
            raise DataError(f"data set {name} has the tables {sorted(checked)}; expected at least titles")
        with self._alone(name):
            checked["titles"] = _numbered(self._previous(name), checked["titles"])
            self._replace(name, checked, manifest)
        return self._root / name

    def manifest(self, name: str) -> dict[str, Any]:
        """What the import recorded about a set (source, simulated columns, rejected rows), and `tables`: rows of each.

        Raises:
            DataError: no such set, or its manifest is not JSON.
        """
        path = self._path(name) / "manifest.json"
        with self._reading(name, path):
            facts: dict[str, Any] = json.loads(path.read_text())
            return facts

    def table(self, name: str, table: str) -> pa.Table:
        """One table of a set, columns as `schema.TABLES`; empty when the set does not have it.

        Raises:
            DataError: no such set, no such table in the schema, or a corrupt file.
        """
        if table not in TABLES:
            raise DataError(f"table {table!r} is not one of {', '.join(TABLES)}")
        if table == "events":
            return self.events(name)
        path = self._path(name) / f"{table}.parquet"
        # A file that is lost is not a table that never was: without licences, everything may be shown everywhere.
        if table not in self.manifest(name)["tables"] and not path.exists():
            return TABLES[table].empty_table()
        with self._reading(name, path):
            return pq.read_table(path, partitioning=None).select(TABLES[table].names).cast(TABLES[table])

    def events(
        self, name: str, start_s: int | None = None, end_s: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Events with start_s <= event_at < end_s, sorted by (event_at, event_id); `columns` None gives all of them.

        Raises:
            DataError: no such set or column, or a corrupt file.
        """
        wanted = list(columns) if columns is not None else EVENTS.names
        if unknown := set(wanted) - set(EVENTS.names):
            raise DataError(f"events have no columns {sorted(unknown)}; expected some of {', '.join(EVENTS.names)}")
        files = [file for file in self.event_files(name) if _overlaps(file, start_s, end_s)]
        if not files:
            return pa.schema([EVENTS.field(column) for column in wanted]).empty_table()
        with self._reading(name, self._path(name) / "events"):
            found = ds.dataset(files, schema=EVENTS, format="parquet")
            # One file per day is sorted as written, and days come in order; only a day of several files needs sorting.
            sorted_already = len({Path(file).parent for file in files}) == len(files)
            read = wanted if sorted_already else list(dict.fromkeys((*wanted, *_ORDER)))
            rows = found.to_table(columns=read, filter=_between(start_s, end_s))
        if not sorted_already:
            rows = rows.sort_by([(column, "ascending") for column in _ORDER])
        return rows.select(wanted)

    def event_files(self, name: str) -> list[str]:
        """Paths of a set's event files in order of their dates; none when it has no events.

        Raises:
            DataError: no such set.
        """
        folder = self._path(name) / "events"
        files = sorted(str(path) for path in folder.glob("event_date=*/*.parquet"))
        if not files and self.manifest(name)["tables"].get("events"):
            with self._reading(name, folder):
                raise FileNotFoundError("its event files are gone")
        return files

    def _path(self, name: str) -> Path:
        held = self.names()
        if name not in held:
            raise DataError(
                f"lake {self._root} has no data set {name!r}; it has {', '.join(held) or 'none'}: run `recray import {name}`"
            )
        return (self._root / name).resolve()

    @contextmanager
    def _reading(self, name: str, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise DataError(
                f"data set {name!r} cannot be read at {path}: {problem}; the lake has {', '.join(self.names())}: "
                f"run `recray import {name}` to write it anew"
            ) from problem

    def _previous(self, name: str) -> pa.Table:
        path = self._root / name
        if not path.exists():
            return TABLES["titles"].empty_table()
        try:
            return pq.read_table(path / "titles.parquet", partitioning=None).cast(TABLES["titles"])
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise DataError(
                f"title numbers of {name!r} cannot be read at {path}/titles.parquet: {problem}; restore that file, or remove "
                f"{path} and run `recray import {name}`, which numbers titles anew: then train and publish anew"
            ) from problem

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Hold the set's write lock, which the system releases when the process dies."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _replace(self, name: str, tables: Mapping[str, pa.Table], manifest: Mapping[str, Any]) -> None:
        link, pending = self._root / name, self._root / f".{name}.pending"
        current = os.readlink(link) if link.is_symlink() else f".{name}.0"
        own = re.fullmatch(rf"\.{name}\.(\d+)", current)
        if own is None or (link.exists() and not link.is_symlink()):
            raise DataError(f"{link} was not written by this lake and would not be replaced in one step; move it away first")
        fresh = self._root / f".{name}.{int(own[1]) + 1}"
        self._sweep(name, current)
        fresh.mkdir()
        for table, rows in tables.items():
            if table == "events":
                _write_events(rows, fresh / "events")
            else:
                pq.write_table(rows, fresh / f"{table}.parquet", compression="zstd")
        held = {"tables": {table: rows.num_rows for table, rows in tables.items()}}
        (fresh / "manifest.json").write_text(json.dumps({**manifest, **held}, indent=2, sort_keys=True))
        pending.symlink_to(fresh.name)
        os.replace(pending, link)
        self._sweep(name, fresh.name)

    def _sweep(self, name: str, kept: str) -> None:
        """Remove versions other than `kept`: the replaced one at once, because it may hold what was to be erased."""
        for path in self._root.glob(f".{name}.*"):
            if path.is_symlink():
                path.unlink()
            elif path.is_dir() and path.name != kept:
                shutil.rmtree(path)


def _checked(name: str, table: pa.Table) -> pa.Table:
    """The table with the schema's columns, types and order."""
    if name not in TABLES:
        raise DataError(f"table {name!r} is not one of {', '.join(TABLES)}")
    schema = TABLES[name]
    if unknown := [column for column in table.column_names if column not in schema.names]:
        raise DataError(f"table {name} has column {unknown[0]!r}; expected {', '.join(schema.names)}: rename or drop it")
    if repeated := [column for column in schema.names if table.column_names.count(column) > 1]:
        raise DataError(f"table {name} has column {repeated[0]!r} more than once; expected it once: drop the others")
    checked = pa.table([_column(name, table, field) for field in schema], schema=schema)
    if name == "titles" and checked.num_rows != pc.count_distinct(checked["content_id"]).as_py():
        raise DataError("table titles has a repeated value in column 'content_id'; expected one row per title: merge them")
    return checked


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


def _numbered(previous: pa.Table, titles: pa.Table) -> pa.Table:
    """Titles in the order of their numbers: those of the previous version in its order, then new ones in theirs."""
    known = pc.is_in(titles["content_id"], previous["content_id"].combine_chunks())
    both = pa.concat_tables([titles, previous])
    # The first match wins, so a title that is in both takes its new row.
    old = pc.index_in(previous["content_id"], both["content_id"].combine_chunks())
    numbered = pa.concat_tables([both.take(old), titles.filter(pc.invert(known))])
    if numbered.num_rows > MAX_TITLES:
        raise DataError(f"table titles has {numbered.num_rows} rows, vanished titles included; expected at most {MAX_TITLES}")
    return numbered.combine_chunks()


def _write_events(events: pa.Table, folder: Path) -> None:
    rows = events.sort_by([(column, "ascending") for column in _ORDER])
    day = rows["event_at"].cast(pa.int64()).to_numpy() // _DAY_MS
    bounds = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
    for start, end in pairwise(bounds):
        if end > start:
            part = folder / f"event_date={day[start].astype('datetime64[D]')}"
            part.mkdir(parents=True)
            pq.write_table(rows.slice(start, end - start), part / "part-0.parquet", compression="zstd")


def _overlaps(file: str, start_s: int | None, end_s: int | None) -> bool:
    day_s = int(np.datetime64(Path(file).parent.name.removeprefix("event_date="), "s").astype(np.int64))
    return (start_s is None or day_s + _DAY_S > start_s) and (end_s is None or day_s < end_s)


def _between(start_s: int | None, end_s: int | None) -> ds.Expression:
    at, kind = pc.field("event_at"), EVENTS.field("event_at").type
    kept = pc.scalar(True)
    for bound_s, keeps in ((start_s, at.__ge__), (end_s, at.__lt__)):
        if bound_s is not None:
            kept &= keeps(pa.scalar(min(max(bound_s, -_MAX_S), _MAX_S) * 1_000, pa.int64()).cast(kind))
    return kept

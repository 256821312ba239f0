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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from recray.errors import DataError
from recray.features.fold import MAX_TITLES
from recray.schema import EVENTS, TABLES, ProfileKey
from recray.stores.erased import Erased
from recray.stores.event_parts import ORDER, between, by_day, first_rows, in_order, overlapping
from recray.stores.lake_check import checked
from recray.stores.sunk import SUNK, SunkEvents

_KEY: Final = ("user_id", "profile_id")
_FOLLOWED_KEY: Final = ("followed_user_id", "followed_profile_id")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # without a dot, so that `.name.7` belongs to one set only


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A set's events as of a moment: files of imported rows (EVENTS) and of sunk ones (SUNK), each in order of their days.

    `through` maps each log to the last position among the sunk rows; `erased` says whose rows do not count. The same event may
    be in both kinds of files: it counts once.
    """

    imported: list[str]
    sunk: list[str]
    through: Mapping[str, str]
    erased: Erased


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
        """Imported sets that are complete, in alphabetical order; what an interrupted import left behind is not listed."""
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
        fitting = {table: checked(table, rows) for table, rows in tables.items()}
        if "titles" not in fitting:
            raise DataError(f"data set {name} has the tables {sorted(fitting)}; expected at least titles")
        with self._alone(name):
            fitting["titles"] = _numbered(self._previous(name), fitting["titles"])
            self._replace(name, fitting, manifest)
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
            rows = pq.read_table(path, partitioning=None).select(TABLES[table].names).cast(TABLES[table])
        for key in (_KEY, _FOLLOWED_KEY):
            if set(key) <= set(rows.column_names):
                rows = Erased(self.sunk(name).read().erased).without(rows, key)
        return rows

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
        there = self.snapshot(name)
        read = list(dict.fromkeys((*wanted, *ORDER, *(_KEY if there.sunk or there.erased.until else ()))))
        parts = []
        with self._reading(name, self._path(name) / "events"):
            for files, schema in ((there.imported, EVENTS), (there.sunk, SUNK)):
                place = [column for column in schema.names if column not in EVENTS.names]
                found = ds.dataset(overlapping(files, start_s, end_s), schema=schema, format="parquet")
                rows = found.to_table(columns=[*read, *place], filter=between(start_s, end_s))
                parts.append(there.erased.without(rows).select(read))
        if parts[1].num_rows:
            return first_rows(in_order(pa.concat_tables(parts))).select(wanted)
        # One file per day is sorted as written, and days come in order; only a day of several files needs sorting.
        sorted_already = len({Path(file).parent for file in there.imported}) == len(there.imported)
        return (parts[0] if sorted_already else in_order(parts[0])).select(wanted)

    def events_of(self, name: str, key: ProfileKey) -> pa.Table:
        """One profile's events in a set, as `events` gives them; looks through all files of the set.

        Raises:
            DataError: no such set, or a corrupt file.
        """
        there = self.snapshot(name)
        own = (pc.field("user_id") == key.user_id) & (pc.field("profile_id") == key.profile_id)
        with self._reading(name, self._path(name) / "events"):
            parts = [
                there.erased.without(ds.dataset(files, schema=schema, format="parquet").to_table(filter=own)).select(
                    EVENTS.names
                )
                for files, schema in ((there.imported, EVENTS), (there.sunk, SUNK))
            ]
        return first_rows(in_order(pa.concat_tables(parts)))

    def snapshot(self, name: str) -> Snapshot:
        """Everything that a set's events are read from at one moment, for readers that take their time.

        Raises:
            DataError: no such set, or what was committed cannot be read.
        """
        folder = self._path(name) / "events"
        imported = sorted(str(path) for path in folder.glob("event_date=*/*.parquet"))
        if not imported and self.manifest(name)["tables"].get("events"):
            with self._reading(name, folder):
                raise FileNotFoundError("its event files are gone")
        sunk = self.sunk(name).read()
        return Snapshot(imported, self.sunk(name).paths(sunk), sunk.through, Erased(sunk.erased))

    def sunk(self, name: str) -> SunkEvents:
        """What sinks carried into a set, and where they add to it."""
        return SunkEvents(self._root, name)

    def event_files(self, name: str) -> list[str]:
        """Paths of a set's event files, imported ones first, each in order of their dates; none when it has no events.

        Raises:
            DataError: no such set.
        """
        there = self.snapshot(name)
        return [*there.imported, *there.sunk]

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
    for day, rows in by_day(events):
        (folder / day).mkdir(parents=True)
        pq.write_table(rows, folder / day / "part-0.parquet", compression="zstd")

"""Events that a sink carried into the lake: committed with their log positions, so that each is in it exactly once.

Beside a set lies `<root>/<name>.sunk/` with `events/event_date=YYYY-MM-DD/*.parquet`, `quarantine/*.parquet` and `sunk.json`,
which names the files that count and how far each log has been carried over. A commit writes its files, forces them to disk,
and then replaces `sunk.json`: a reader sees all of a batch or nothing, and what a killed writer left is named by nothing.
Everything that writes holds one lock, which dies with its process.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recray.errors import DataError
from recray.schema import EVENTS
from recray.stores.erased import Erased, after, last_erasure
from recray.stores.event_parts import by_day, day_is_over, in_order
from recray.stores.log_group import order
from recray.stores.publications import Publications

_LOGGED: Final = (
    pa.field("log", pa.string(), nullable=False),
    pa.field("logged_at_ms", pa.int64(), nullable=False),
    pa.field("logged_no", pa.int64(), nullable=False),
)
SUNK: Final = pa.schema([*EVENTS, pa.field("received_at", pa.timestamp("ms", tz="UTC"), nullable=False), *_LOGGED])
"""An event with when it was received, and its place: the log (store and shard) and the two numbers of its position."""
QUARANTINE: Final = pa.schema(
    [
        *_LOGGED,
        pa.field("profile", pa.binary(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("n_tries", pa.int32(), nullable=False),
        pa.field("entry", pa.binary(), nullable=False),
    ]
)
"""A log entry that is no event, as it was logged, with the reason."""


class Part(msgspec.Struct, frozen=True):
    """One file: its path within the folder of sunk events, its rows, and how often its rows were merged."""

    file: str
    n_rows: int
    level: int = 0


class Sunk(msgspec.Struct, frozen=True):
    """What `sunk.json` says. `through` maps a log to the last position that is in the lake.

    `retired` are files that were replaced, with the time in seconds; `n_erasures` and `n_purged` tell whether files may still
    hold erased rows.
    """

    parts: tuple[Part, ...] = ()
    through: Mapping[str, str] = {}
    quarantine: tuple[str, ...] = ()
    n_rows: int = 0
    n_quarantined: int = 0
    n_written: int = 0
    erased: Mapping[str, tuple[str, str]] = {}
    n_erasures: int = 0
    n_purged: int = 0
    retired: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows (SUNK) and refused entries (QUARANTINE) of some logs, each log from behind one position through another."""

    rows: pa.Table
    quarantined: pa.Table
    behind: Mapping[str, str]
    through: Mapping[str, str]


class SunkEvents:
    """The sunk events of one set; any number of readers and writers, in any number of processes of one machine."""

    def __init__(self, root: Path, name: str) -> None:
        self._name = name
        self._folder = root / f"{name}.sunk"

    def read(self) -> Sunk:
        """What is committed; empty when nothing ever was.

        Raises:
            DataError: `sunk.json` is there and cannot be read.
        """
        path = self._folder / "sunk.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Sunk)
        except FileNotFoundError:
            return Sunk()
        except (OSError, msgspec.DecodeError) as problem:
            raise DataError(
                f"{path} cannot be read ({problem}); expected what a sink committed: restore it, for the files beside it "
                "do not tell which of them count"
            ) from problem

    def paths(self, sunk: Sunk) -> list[str]:
        """Paths of the event files of a commit, in order of their days."""
        return sorted(str(self._folder / part.file) for part in sunk.parts)

    def commit(self, batch: Batch) -> bool:
        """Add a batch, durably and as a whole; False, and nothing changed, when a log is no longer at `behind`.

        Rows of erased profiles are left out.
        """
        with self._alone():
            held = self.read()
            if any(held.through.get(log, "") != position for log, position in batch.behind.items()):
                return False
            number = held.n_written + 1
            parts = self._write(Erased(held.erased).without(batch.rows), number)
            quarantine = self._set_aside(batch.quarantined, number)
            self._replace(msgspec.structs.replace(
                held,
                parts=(*held.parts, *parts),
                through={**held.through, **batch.through},
                quarantine=(*held.quarantine, *quarantine),
                n_rows=held.n_rows + batch.rows.num_rows,
                n_quarantined=held.n_quarantined + batch.quarantined.num_rows,
                n_written=number,
            ))  # fmt: skip
            return True

    def erase(self, marks: Mapping[bytes, tuple[str, str]]) -> None:
        """Let readers see nothing more of profiles, given by mark with the log and its last erased position."""
        if not marks:
            return
        with self._alone():
            held = self.read()
            erased = {**held.erased, **{m.hex(): last_erasure(held.erased.get(m.hex()), until) for m, until in marks.items()}}
            self._replace(msgspec.structs.replace(held, erased=erased, n_erasures=held.n_erasures + 1))

    def upkeep(self, now_s: int, merge_parts: int, late_s: int, retired_s: float) -> None:
        """Rewrite files without erased rows, merge small files, and delete what was replaced `retired_s` ago.

        `merge_parts` files of a day that were merged equally often become one; all files of a day do when events that are at
        most `late_s` late can no longer come. Each step is one commit, so a kill at any point leaves all rows once.
        """
        with self._alone():
            held = self._purged(self.read(), now_s)
            while (chosen := _mergeable(held.parts, now_s, merge_parts, late_s)) is not None:
                held = self._rewritten(held, chosen, now_s)
            self._tidy(held, now_s, retired_s)

    def rows_after(self, sunk: Sunk, through: Mapping[str, str], known: Iterable[str]) -> pa.Table:
        """Rows (SUNK) of a commit behind a position of each log ("" or absent: all), from files other than the known ones."""
        files = sorted(set(self.paths(sunk)) - set(known))
        rows = self._load(files)
        kept = [rows.filter(pa.array(after(rows, log, through.get(log, "")))) for log in sunk.through]
        return Erased(sunk.erased).without(pa.concat_tables([SUNK.empty_table(), *kept]))

    def _load(self, files: Iterable[str | Path]) -> pa.Table:
        return pa.concat_tables([SUNK.empty_table(), *(pq.read_table(file, schema=SUNK, partitioning=None) for file in files)])

    def _write(self, rows: pa.Table, number: int, level: int = 0) -> list[Part]:
        parts = []
        for folder, own in by_day(rows):
            part = Part(f"events/{folder}/{number:08d}.parquet", own.num_rows, level)
            _write_durably(own, self._folder / part.file, self._folder)
            parts.append(part)
        return parts

    def _set_aside(self, refused: pa.Table, number: int) -> list[str]:
        if not refused.num_rows:
            return []
        _write_durably(refused, self._folder / "quarantine" / f"{number:08d}.parquet", self._folder)
        return [f"quarantine/{number:08d}.parquet"]

    def _rewritten(self, held: Sunk, chosen: tuple[Part, ...], now_s: int, level: int | None = None) -> Sunk:
        """The chosen parts of one day as one, without erased rows."""
        rows = Erased(held.erased).without(self._load(self._folder / part.file for part in chosen))
        number = held.n_written + 1
        merged = self._write(in_order(rows), number, max(part.level for part in chosen) + 1 if level is None else level)
        return self._replace(msgspec.structs.replace(
            held,
            parts=(*(part for part in held.parts if part not in chosen), *merged),
            n_written=number,
            retired=(*held.retired, *((part.file, now_s) for part in chosen)),
        ))  # fmt: skip

    def _purged(self, held: Sunk, now_s: int) -> Sunk:
        if held.n_purged == held.n_erasures:
            return held
        erased = Erased(held.erased)
        for part in held.parts:
            rows = self._load([self._folder / part.file])
            if erased.without(rows).num_rows < rows.num_rows:
                held = self._rewritten(held, (part,), now_s, part.level)
        for file in held.quarantine:
            held = self._requarantined(held, file, now_s)
        Publications(self._folder.parent, self._name).purge(erased)
        return self._replace(msgspec.structs.replace(held, n_purged=held.n_erasures))

    def _requarantined(self, held: Sunk, file: str, now_s: int) -> Sunk:
        rows = pq.read_table(self._folder / file, schema=QUARANTINE, partitioning=None)
        kept = Erased(held.erased).entries(rows)
        if kept.num_rows == rows.num_rows:
            return held
        number = held.n_written + 1
        fresh = self._set_aside(kept, number)
        return self._replace(msgspec.structs.replace(
            held,
            quarantine=(*(one for one in held.quarantine if one != file), *fresh),
            n_written=number,
            retired=(*held.retired, (file, now_s)),
        ))  # fmt: skip

    def _tidy(self, held: Sunk, now_s: int, retired_s: float) -> None:
        due = {file for file, at_s in held.retired if at_s + retired_s <= now_s}
        if due:
            held = self._replace(msgspec.structs.replace(held, retired=tuple(one for one in held.retired if one[0] not in due)))
        named = {part.file for part in held.parts} | set(held.quarantine) | {file for file, _ in held.retired}
        # Under the lock nobody else writes: a file that is not named was left by a killed writer, or is due.
        for path in self._folder.glob("*/**/*.parquet"):
            if str(path.relative_to(self._folder)) not in named:
                path.unlink()

    def _replace(self, sunk: Sunk) -> Sunk:
        self._folder.mkdir(parents=True, exist_ok=True)
        pending = self._folder / "sunk.json.new"
        with pending.open("wb") as file:
            file.write(msgspec.json.encode(sunk))
            file.flush()
            os.fsync(file.fileno())
        pending.replace(self._folder / "sunk.json")
        _sync(self._folder)
        _sync(self._folder.parent)
        return sunk

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with (self._folder.parent / f".{self._name}.sunk.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _mergeable(parts: tuple[Part, ...], now_s: int, merge_parts: int, late_s: int) -> tuple[Part, ...] | None:
    """Parts of one day that are due to become one."""
    days: dict[str, list[Part]] = {}
    for part in parts:
        days.setdefault(part.file.split("/")[1], []).append(part)
    for folder, own in sorted(days.items()):
        if len(own) > 1 and day_is_over(folder, now_s, late_s):
            return tuple(own)
        for level in sorted({part.level for part in own}):
            same = [part for part in own if part.level == level]
            if len(same) >= merge_parts:
                return tuple(same)
    return None


def _write_durably(rows: pa.Table, path: Path, top: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pq.write_table(rows, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    folder = path.parent
    while folder != top.parent:
        _sync(folder)
        folder = folder.parent


def _sync(folder: Path) -> None:
    """Force a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def logged(log: str, position: str) -> dict[str, object]:
    """The columns that say where a row was logged."""
    at_ms, number = order(position)
    return {"log": log, "logged_at_ms": at_ms, "logged_no": number}

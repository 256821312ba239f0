"""What was published of a set: folded states kept as files, so that publishing can go on after a kill and be taken back.

Beside a set lies `<root>/<name>.published/` with a folder for each publication that is kept and `applied.json`, which says what
the store was given and how far. A publication is one file of states in groups of rows, and `publication.json`, which is
written last: without it the folder counts for nothing.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recray.errors import DataError
from recray.schema import PROFILES, Bools, ProfileKey
from recray.stores.erased import Erased

T = TypeVar("T")
_KEY: Final = ("user_id", "profile_id")
_SETTINGS: Final = ("country", "language", "age_group", "maturity_limit", "consent")
STATES: Final = pa.schema([
    *(PROFILES.field(name) for name in _KEY), pa.field("state", pa.binary()), *(PROFILES.field(name) for name in _SETTINGS),
])  # fmt: skip
"""A folded profile and the settings that it was imported with; all settings are null where it was not."""
_GROUP: Final = 10_000


class Origin(msgspec.Struct, frozen=True):
    """The snapshot of the lake that states were folded from: how far each log was in it, its sunk files, and who was erased."""

    through: Mapping[str, str]
    sunk: tuple[str, ...]
    erased: Mapping[str, tuple[str, str]]


class Publication(msgspec.Struct, frozen=True):
    """One publication: its number, what it was folded from, and how many groups of rows it has."""

    number: int
    origin: Origin
    n_groups: int


class Applied(msgspec.Struct, frozen=True):
    """What a store, named by its log, was given: the publication `current`, up to `n_groups` of it, after all of `before`.

    A number is 0 where there is none. `is_done` once no profile is left as it was before.
    """

    store: str = ""
    current: int = 0
    before: int = 0
    n_groups: int = 0
    is_done: bool = True


class Publications:
    """The publications of one set; one process at a time publishes it."""

    def __init__(self, root: Path, name: str) -> None:
        self._name = name
        self._folder = root / f"{name}.published"

    def applied(self) -> Applied:
        """What was given to a store last; nothing where nothing ever was.

        Raises:
            DataError: it cannot be read.
        """
        return self._told(self._folder / "applied.json", Applied) or Applied()

    def publication(self, number: int) -> Publication:
        """A publication that is kept.

        Raises:
            DataError: there is none of that number, or it cannot be read.
        """
        found = self._told(self._folder / str(number) / "publication.json", Publication)
        if found is None:
            raise DataError(f"set {self._name} has no publication {number}; it keeps {self._numbers()}: publish anew")
        return found

    def archive(self, origin: Origin, states: Iterable[pa.Table], profiles: pa.Table, nothing: bytes) -> Publication:
        """Keep states (user_id, profile_id, state) as a publication, as they come, with the settings of the table of profiles.

        Profiles of the table that are not among the states are kept with the state `nothing`.
        """
        number = max((0, *self._numbers())) + 1
        folder = self._folder / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        bare = STATES.empty_table().select([*_KEY, "state"]).schema
        with pq.ParquetWriter(folder / "folded.parquet", bare, compression="zstd") as writer:
            for rows in states:
                writer.write_table(rows.select(bare.names).cast(bare))
        folded = pl.scan_parquet(folder / "folded.parquet")
        people = pl.from_arrow(profiles.select([*_KEY, *_SETTINGS]))
        assert isinstance(people, pl.DataFrame)
        known = people.lazy().unique(_KEY, keep="last")
        silent = known.join(folded.select(_KEY), on=_KEY, how="anti").with_columns(state=pl.lit(nothing, pl.Binary))
        both = pl.concat([folded.join(known, on=_KEY, how="left"), silent.select(STATES.names)])
        both.sink_parquet(folder / "states.parquet", row_group_size=_GROUP, compression="zstd")
        (folder / "folded.parquet").unlink()
        made = Publication(number, origin, pq.ParquetFile(folder / "states.parquet").num_row_groups)
        self._write(folder / "publication.json", made)
        return made

    def groups(self, publication: Publication, start: int) -> Iterator[pa.Table]:
        """The groups of rows (STATES) of a publication, from one on."""
        with pq.ParquetFile(self._states(publication.number)) as file:
            for group in range(start, publication.n_groups):
                yield file.read_row_group(group).cast(STATES)

    def others(self, publication: Publication) -> list[ProfileKey]:
        """Profiles that other publications have and this one has not."""
        files = [self._states(number) for number in self._numbers() if number != publication.number]
        if not files:
            return []
        own = pl.scan_parquet(self._states(publication.number)).select(_KEY)
        found = pl.scan_parquet(files).select(_KEY).unique().join(own, on=_KEY, how="anti").collect(engine="streaming")
        return [ProfileKey(*key) for key in found.sort(_KEY).iter_rows()]

    def note(self, applied: Applied) -> None:
        """Say what a store was given; when that is all of it, publications that nobody can go back to are deleted."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(self._folder / "applied.json", applied)
        if applied.is_done:
            for path in self._folder.iterdir():
                if path.is_dir() and path.name not in {str(applied.current), str(applied.before)}:
                    shutil.rmtree(path)

    def purge(self, erased: Erased) -> None:
        """Write publications anew without profiles that were erased after they were made."""
        for number in self._numbers():
            before = Erased(self.publication(number).origin.erased)
            if before.until == erased.until:
                continue
            path, fresh = self._states(number), self._folder / str(number) / "states.parquet.new"
            n_gone = 0
            with pq.ParquetFile(path) as file, pq.ParquetWriter(fresh, file.schema_arrow, compression="zstd") as writer:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    kept = _kept(rows, before, erased)
                    n_gone += int((~kept).sum())
                    writer.write_table(rows.filter(pa.array(kept)), row_group_size=_GROUP)
            if n_gone:
                fresh.replace(path)
            else:
                fresh.unlink()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who publishes this set.

        Raises:
            DataError: another process is at it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                raise DataError(f"set {self._name} is being published by another process; wait for it") from problem
            yield

    def _numbers(self) -> list[int]:
        return sorted(int(path.parent.name) for path in self._folder.glob("[0-9]*/publication.json"))

    def _states(self, number: int) -> Path:
        return self._folder / str(number) / "states.parquet"

    def _told(self, path: Path, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as problem:
            raise DataError(f"{path} cannot be read ({problem}); remove {self._folder} and publish anew") from problem

    def _write(self, path: Path, told: msgspec.Struct) -> None:
        aside = path.with_name(f".{path.name}.new")
        with aside.open("wb") as file:
            file.write(msgspec.json.encode(told))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)


def _kept(rows: pa.Table, before: Erased, now: Erased) -> Bools:
    keys = zip(rows["user_id"].to_pylist(), rows["profile_id"].to_pylist(), strict=True)
    return np.array([before.of(ProfileKey(*key)) == now.of(ProfileKey(*key)) for key in keys], np.bool_)

"""Reads the files of a data set out of a directory, a zip or a tar archive, without unpacking to disk."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import polars as pl

from recray.errors import DataError

_CHUNK_BYTES = 1 << 20


class Archive:
    """One data set's files. Members are named by their last part: `u.data` finds `ml-100k/u.data`.

    A file that is neither zip nor tar is an archive of itself. `sha256` is that of the archive file; of a directory it covers
    the members that were read.

    Raises:
        DataError: the path does not exist, or is a zip or tar archive that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, str] = {}
        if not path.exists():
            raise DataError(f"{path} does not exist; give an archive or a directory of the data set's files")
        self._zip: zipfile.ZipFile | None = None
        self._tar: tarfile.TarFile | None = None
        try:
            self._names = self._open()
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as problem:
            raise DataError(
                f"archive {path} cannot be read ({problem}); it is truncated or corrupt: fetch it anew"
            ) from problem

    def _open(self) -> list[str]:
        if self.path.is_dir():
            return sorted(str(file.relative_to(self.path)) for file in self.path.rglob("*") if file.is_file())
        if self.path.suffix in {".zip", ".whl"}:
            self._zip = zipfile.ZipFile(self.path)
            return self._zip.namelist()
        if ".tar" in self.path.suffixes or self.path.suffix == ".tgz":
            self._tar = tarfile.open(self.path)  # noqa: SIM115  # lives as long as this object
            return [member.name for member in self._tar.getmembers() if member.isfile()]
        return [self.path.name]

    def find(self, pattern: str) -> list[str]:
        """Members whose last part matches a glob pattern, sorted by name."""
        return sorted(name for name in self._names if fnmatch(PurePosixPath(name).name, pattern))

    def read(self, pattern: str) -> bytes:
        """The bytes of the one member that matches.

        Raises:
            DataError: none or more than one matches, or its bytes are corrupt.
        """
        found = self.find(pattern)
        if len(found) != 1:
            listed = ", ".join(found[:5] or self._names[:8]) or "nothing"
            raise DataError(f"{self.path} should hold one file {pattern}; it holds {listed}: give the publisher's own archive")
        return self.bytes_of(found[0])

    def bytes_of(self, name: str) -> bytes:
        """The bytes of the member with this full name.

        Raises:
            DataError: its bytes are corrupt.
        """
        try:
            content = self._content(name)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError) as problem:
            raise DataError(f"{name} in {self.path} cannot be read ({problem}); it is corrupt: fetch it anew") from problem
        self._read[name] = hashlib.sha256(content).hexdigest()
        return content

    def _content(self, name: str) -> bytes:
        if self._zip is not None:
            return self._zip.read(name)
        if self._tar is not None:
            member = self._tar.extractfile(name)
            return member.read() if member is not None else b""
        return (self.path / name if self.path.is_dir() else self.path).read_bytes()

    def sha256(self) -> str:
        """Digest of what this data set was read from."""
        if self.path.is_dir():
            return hashlib.sha256("".join(f"{name}:{self._read[name]};" for name in sorted(self._read)).encode()).hexdigest()
        return digest(self.path, "sha256")


def columns(archive: Archive, pattern: str, needed: Sequence[str], separator: str = ",") -> pl.DataFrame:
    """The needed columns of a member with a header, every field as text; an empty field is null, a short row ends in nulls.

    Raises:
        DataError: the member is missing, cannot be parsed or lacks a column.
    """
    frame = parsed(archive, pattern, archive.read(pattern), separator)
    named = frame.rename({name: name.partition(":")[0] for name in frame.columns})
    missing = [name for name in needed if name not in named.columns]
    if missing:
        raise DataError(
            f"{pattern} in {archive.path} lacks {', '.join(missing)}; it has {', '.join(frame.columns)}: "
            "give the publisher's own file"
        )
    return named.select(needed)


def parsed(archive: Archive, member: str, content: bytes, separator: str, has_header: bool = True) -> pl.DataFrame:
    """Delimited text as a frame of text columns; only comma-separated files know quotes.

    Raises:
        DataError: the text is not UTF-8 or cannot be parsed.
    """
    try:
        return pl.read_csv(
            io.BytesIO(content),
            separator=separator,
            has_header=has_header,
            infer_schema=False,
            quote_char='"' if separator == "," else None,
            truncate_ragged_lines=True,
        )
    except pl.exceptions.PolarsError as problem:
        raise DataError(f"{member} in {archive.path} cannot be parsed ({problem}); fetch the archive anew") from problem


def digest(path: Path, algorithm: str) -> str:
    """Hex digest of a file; the algorithm `git` is Git's own blob digest, which a repository publishes for each file."""
    state = hashlib.sha1(usedforsecurity=False) if algorithm == "git" else hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "git":
        state.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()

"""Bundles on disk, verified before anything in them is read, and the aliases that name them.

    <root>/bundles/<id>/manifest.json and the files it lists
    <root>/aliases/<alias>            the id that the alias names
    <root>/aliases/<alias>.history    one JSON line per pointing

A bundle never changes once it has its name, so readers need no lock. A checksum detects damage, not forgery: who may
write the directory may write a bundle.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from recray.errors import ModelError

FORMAT_VERSION: Final = 1
ALIASES: Final = ("champion", "challenger")
_MANIFEST: Final = "manifest.json"
_ID: Final = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


class Registry:
    """A directory of bundles. Several processes may read it; one at a time may write or point."""

    def __init__(self, root: Path) -> None:
        self._bundles = root / "bundles"
        self._aliases = root / "aliases"

    def write(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> str:
        """Store a bundle and return its id, which is made of `manifest["created_at"]` and a digest of the whole content.

        The manifest gains `format_version` and `files` (sha256 and size of each). Until everything is on disk the bundle
        has no name, so that no reader sees half of one. Writing the same content again gives the same id.

        Raises:
            ModelError: a file name that leaves the bundle, a manifest that is not JSON, or without an aware `created_at`.
        """
        for name in files:
            _check_name(name)
        table = {name: {"sha256": sha256(blob).hexdigest(), "size": len(blob)} for name, blob in files.items()}
        text = _canonical({**manifest, "format_version": FORMAT_VERSION, "files": table})
        bundle_id = _id_of(text)
        if not self._folder(bundle_id).exists():
            self._bundles.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{bundle_id}.", dir=self._bundles))
            try:
                aside.chmod(0o755)
                for name, blob in {**files, _MANIFEST: text}.items():
                    _write_durably(aside / name, blob)
                for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
                    _sync(folder)
                aside.rename(self._folder(bundle_id))
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            _sync(self._bundles)
        self.read(bundle_id)
        return bundle_id

    def read(self, bundle_id: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Manifest and files of a bundle; every byte is checked before any of it is returned.

        Raises:
            ModelError: there is no such bundle, or it names what is missing, extra, truncated or altered.
        """
        folder = self._folder(bundle_id)
        try:
            text = (folder / _MANIFEST).read_bytes()
        except OSError as problem:
            raise ModelError(f"bundle {bundle_id} has no readable manifest ({problem}); {self._offer()}") from problem
        manifest = _parsed(bundle_id, text)
        if manifest.get("format_version") != FORMAT_VERSION:
            found = manifest.get("format_version")
            raise ModelError(f"bundle {bundle_id} has format {found!r}; expected {FORMAT_VERSION}: train and publish anew")
        listed: dict[str, dict[str, Any]] = manifest["files"]
        extra = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {_MANIFEST, *listed}
        if extra:
            raise ModelError(f"bundle {bundle_id} holds {sorted(extra)}, which its manifest does not list; remove the bundle")
        return manifest, {name: _verified(bundle_id, folder, name, facts) for name, facts in listed.items()}

    def manifest(self, bundle_id: str) -> dict[str, Any]:
        """Manifest of a bundle whose files are not read: for listings. What is served goes through `read`.

        Raises:
            ModelError: there is no such bundle, or its manifest was altered.
        """
        try:
            return _parsed(bundle_id, (self._folder(bundle_id) / _MANIFEST).read_bytes())
        except OSError as problem:
            raise ModelError(f"bundle {bundle_id} has no readable manifest ({problem}); {self._offer()}") from problem

    def ids(self) -> list[str]:
        """Ids of the bundles on disk, oldest first, verified or not."""
        if not self._bundles.is_dir():
            return []
        return sorted(path.name for path in self._bundles.iterdir() if _ID.fullmatch(path.name))

    def alias(self, name: str) -> str | None:
        """The id that an alias names, or None before it was first pointed."""
        try:
            return self._alias_file(name).read_text().strip()
        except FileNotFoundError:
            return None

    def point(self, name: str, bundle_id: str, at: datetime) -> None:
        """Let an alias name another bundle, in one step for every reader.

        Raises:
            ModelError: the alias does not exist, or the bundle does not verify; the alias stays as it was.
        """
        alias_file = self._alias_file(name)
        self.read(bundle_id)
        line = msgspec.json.encode({"at": at.astimezone(UTC), "id": bundle_id}) + b"\n"
        self._aliases.mkdir(parents=True, exist_ok=True)
        aside = alias_file.with_name(f".{name}.{os.getpid()}")
        _write_durably(aside, f"{bundle_id}\n".encode())
        aside.replace(alias_file)
        with self._history_file(name).open("ab") as history:
            history.write(line)
            history.flush()
            os.fsync(history.fileno())
        _sync(self._aliases)

    def history(self, name: str) -> list[dict[str, str]]:
        """What an alias named since when, oldest first: `at` (ISO 8601, UTC) and `id`."""
        self._alias_file(name)
        try:
            lines = self._history_file(name).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line) for line in lines]

    def previous(self, name: str) -> str | None:
        """The bundle to roll back to: the newest in the alias's history that it does not name now; None when there is none."""
        current = self.alias(name)
        return next((entry["id"] for entry in reversed(self.history(name)) if entry["id"] != current), None)

    def resolve(self, name_or_id: str) -> str:
        """The id that an alias or an id means.

        Raises:
            ModelError: an alias that names nothing yet, or neither an alias nor a bundle.
        """
        found = self.alias(name_or_id) if name_or_id in ALIASES else name_or_id
        if found is None or not _ID.fullmatch(found) or not self._folder(found).is_dir():
            raise ModelError(f"{name_or_id!r} names no bundle; {self._offer()}")
        return found

    def _offer(self) -> str:
        return f"expected one of {self.ids()} or an alias that names one; train one, or check the registry's path"

    def _folder(self, bundle_id: str) -> Path:
        if not _ID.fullmatch(bundle_id):
            raise ModelError(f"bundle id is {bundle_id!r}; expected a UTC time and six hex digits: 20261122T101500-3fa2b1")
        return self._bundles / bundle_id

    def _alias_file(self, name: str) -> Path:
        if name not in ALIASES:
            raise ModelError(f"alias is {name!r}; expected {' or '.join(ALIASES)}")
        return self._aliases / name

    def _history_file(self, name: str) -> Path:
        return self._aliases / f"{name}.history"


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    try:
        plain = msgspec.json.decode(msgspec.json.encode(manifest))
    except (TypeError, ValueError) as problem:
        raise ModelError(f"manifest cannot be written ({problem}); expected JSON values, dates and nothing else") from problem
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"))


def _id_of(text: bytes) -> str:
    created_at = msgspec.json.decode(text).get("created_at")
    try:
        at = datetime.fromisoformat(str(created_at))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ModelError(f"manifest has created_at {created_at!r}; expected a time with its zone: 2026-11-22T10:15:00+00:00")
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%S}-{sha256(text).hexdigest()[:6]}"


def _parsed(bundle_id: str, text: bytes) -> dict[str, Any]:
    # The id holds a digest of the manifest, and the manifest the digests of everything else.
    if sha256(text).hexdigest()[:6] != bundle_id[-6:]:
        raise ModelError(f"bundle {bundle_id}: {_MANIFEST} was altered or truncated; restore the bundle or publish anew")
    return msgspec.json.decode(text, type=dict[str, Any])


def _verified(bundle_id: str, folder: Path, name: str, facts: Mapping[str, Any]) -> bytes:
    _check_name(name)
    try:
        blob = (folder / name).read_bytes()
    except OSError as problem:
        raise ModelError(f"bundle {bundle_id}: {name} is missing ({problem}); restore it or publish anew") from problem
    if len(blob) != facts["size"]:
        raise ModelError(
            f"bundle {bundle_id}: {name} has {len(blob)} bytes; expected {facts['size']}: restore it or publish anew"
        )
    if sha256(blob).hexdigest() != facts["sha256"]:
        raise ModelError(
            f"bundle {bundle_id}: {name} was altered (its sha256 differs from the manifest's); restore or publish anew"
        )
    return blob


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or str(path) != name
        or name in {_MANIFEST, "."}
        or "\\" in name
        or "\0" in name
    ):
        raise ModelError(f"bundle file is named {name!r}; expected a relative path inside the bundle other than {_MANIFEST}")


def _write_durably(path: Path, blob: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

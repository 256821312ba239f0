"""Where nothing is compiled yet one process goes first; where all is, nobody waits; where nothing can be written, likewise."""

import fcntl
import os
from pathlib import Path

import pytest

from recray.serving.warm import one_compiles


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "module.py").touch()
    os.utime(tmp_path / "module.py", (1e9, 1e9))
    return tmp_path


def held(package: Path) -> bool:
    """Whether somebody compiles in a package now."""
    with (package / "__pycache__" / "compiled.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_the_first_goes_alone_and_those_after_it_together(package: Path) -> None:
    with one_compiles(package):
        assert held(package)
    with one_compiles(package):
        assert not held(package)


def test_code_that_is_newer_is_compiled_by_one_again(package: Path) -> None:
    with one_compiles(package):
        pass
    os.utime(package / "module.py", (4e9, 4e9))
    with one_compiles(package):
        assert held(package)


def test_who_failed_leaves_it_to_the_next(package: Path) -> None:
    with pytest.raises(ValueError, match="no"), one_compiles(package):
        raise ValueError("no")
    assert not held(package)
    with one_compiles(package):
        assert held(package)


def test_a_package_that_cannot_be_written_is_no_obstacle(package: Path) -> None:
    (package / "__pycache__").touch()  # no folder, and none can be made
    with one_compiles(package):
        pass

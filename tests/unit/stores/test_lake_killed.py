"""A writer that dies: the lake holds the old set or the new one, no lock, and nothing half written that is listed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dying import Killed, die_at
from recray.stores.lake import Lake

from .lake_tables import DAY, T0, events, titles


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


STEPS = ((Path, "mkdir"), (Path, "symlink_to"), (Path, "write_text"), (Path, "unlink"), (os, "replace"), (shutil, "rmtree"))


def test_a_writer_killed_at_any_step_leaves_the_old_set_or_the_new_one(lake: Lake) -> None:
    versions = []
    for step in range(1, 40):
        lake.write("tiny", {"titles": titles("a"), "events": events(T0)}, {"version": 1})
        with pytest.MonkeyPatch.context() as patch:
            die_at(step, STEPS, patch)
            try:
                lake.write("tiny", {"titles": titles("b", "a"), "events": events(T0, T0 + DAY)}, {"version": 2})
                survived = True
            except Killed:
                survived = False
        version = lake.manifest("tiny")["version"]
        assert lake.names() == ["tiny"]
        assert lake.events("tiny").num_rows == version
        versions.append(version)
        if survived:
            break
    assert versions == sorted(versions)
    assert {versions[0], versions[-1]} == {1, 2}
    assert len(versions) > 8


def test_a_first_import_killed_midway_leaves_no_set(lake: Lake) -> None:
    with pytest.MonkeyPatch.context() as patch:
        die_at(5, STEPS, patch)
        with pytest.raises(Killed):
            lake.write("tiny", {"titles": titles("a"), "events": events(T0)}, {})
    assert lake.names() == []
    lake.write("tiny", {"titles": titles("a")}, {})
    assert lake.names() == ["tiny"]


_KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from recray.schema import TITLES
from recray.stores.lake import Lake
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
Lake(Path(sys.argv[1])).write("tiny", {"titles": TITLES.empty_table()}, {"version": 2})
"""


def test_a_killed_process_holds_no_lock_and_leaves_nothing_that_is_listed(lake: Lake, tmp_path: Path) -> None:
    lake.write("tiny", {"titles": titles("a")}, {"version": 1})
    done = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(tmp_path / "lake")], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert lake.names() == ["tiny"]
    assert lake.manifest("tiny")["version"] == 1
    lake.write("tiny", {"titles": titles("a")}, {"version": 3})
    assert lake.manifest("tiny")["version"] == 3
    assert len([path for path in (tmp_path / "lake").glob(".tiny.*") if path.is_dir()]) == 1

"""CPU accounting on a planted /proc: who belongs to a contestant, and what it used."""

import os
from pathlib import Path

import pytest

from recray.bench.processes import MARK, cpu_s, members

TICKS = os.sysconf("SC_CLK_TCK")


def plant(proc: Path, pid: int, parent: int, ticks: tuple[int, int, int, int] = (0, 0, 0, 0), **environment: str) -> None:
    """A process as the kernel shows it; its name holds what would trip a reader that splits at blanks."""
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    before = "0 0 0 0 0 0 0 0 0"
    (folder / "stat").write_text(f"{pid} (ray::a) b (c) S {parent} {before} {' '.join(map(str, ticks))} 20 0 1 0 500\n")
    (folder / "environ").write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in environment.items()))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    plant(tmp_path, 1, 0, (9_000, 0, 0, 0))
    plant(tmp_path, 10, 1)
    plant(tmp_path, 11, 10)
    plant(tmp_path, 12, 11)
    plant(tmp_path, 20, 1, **{MARK: "mine", "HOME": "/"})
    plant(tmp_path, 21, 20)
    plant(tmp_path, 30, 1, **{MARK: "another's"})
    plant(tmp_path, 31, 1, **{MARK: "mine too"})
    (tmp_path / "uptime").write_text("1 1")
    return tmp_path


def test_descendants_and_marked_daemons_are_members(proc: Path) -> None:
    assert members([10], "mine", proc) == {10, 11, 12, 20, 21}
    assert members([], "mine", proc) == {20, 21}
    assert members([99], "nobody's", proc) == set()


def test_user_and_system_seconds_are_summed_over_members(proc: Path) -> None:
    plant(proc, 10, 1, (100, 20, 0, 0))
    plant(proc, 12, 11, (3, 4, 0, 0))
    plant(proc, 30, 1, (5_000, 0, 0, 0))
    assert cpu_s([10], "mine", proc) == pytest.approx(127 / TICKS)


def test_a_member_that_ends_takes_nothing_away(proc: Path) -> None:
    plant(proc, 10, 1, (100, 0, 0, 0))
    plant(proc, 11, 10, (50, 10, 0, 0))
    before = cpu_s([10], "mine", proc)
    for file in (proc / "11").iterdir():
        file.unlink()
    (proc / "11").rmdir()
    plant(proc, 12, 1)
    plant(proc, 10, 1, (130, 0, 55, 10))
    assert cpu_s([10], "mine", proc) - before == pytest.approx(35 / TICKS)


def test_a_process_that_ends_while_it_is_read_is_left_out(proc: Path) -> None:
    (proc / "77").mkdir()
    assert 77 not in members([77], "mine", proc)

"""How much processor time a set of processes has used, read from /proc."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "RECRAY_BENCH_CONTESTANT"
"""Environment variable that every process of a contestant inherits, also those that leave its process tree (daemons)."""
_PROC: Final = Path("/proc")
_PPID, _UTIME, _CSTIME = 1, 11, 14
"""Places in /proc/<pid>/stat, counted from behind the command's closing bracket."""


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    ticks: int


def _seen(pid: int, proc: Path) -> _Process | None:
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None  # it ended between the listing and the reading
    fields = stat[stat.rindex(")") + 2 :].split()
    return _Process(int(fields[_PPID]), sum(map(int, fields[_UTIME : _CSTIME + 1])))


def _is_marked(pid: int, mark: str, proc: Path) -> bool:
    try:
        return f"{MARK}={mark}".encode() in (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def members(roots: Iterable[int], mark: str, proc: Path = _PROC) -> set[int]:
    """Processes that are a root, descend from one, or carry the mark in their environment."""
    return set(_members(roots, mark, proc))


def _members(roots: Iterable[int], mark: str, proc: Path) -> dict[int, _Process]:
    alive = {int(entry.name): _seen(int(entry.name), proc) for entry in proc.iterdir() if entry.name.isdigit()}
    processes = {pid: process for pid, process in alive.items() if process is not None}
    found = {pid for pid in processes if pid in set(roots) or _is_marked(pid, mark, proc)}
    while more := {pid for pid, process in processes.items() if process.parent in found} - found:
        found |= more
    return {pid: processes[pid] for pid in found}


def cpu_s(roots: Iterable[int], mark: str, proc: Path = _PROC) -> float:
    """User and system seconds that members used so far, with those of children that ended and were waited for.

    The difference of two readings therefore loses nothing when a member ends in between, as long as a member was its parent.
    Resolution is the kernel's tick, 10 ms as a rule.
    """
    return sum(process.ticks for process in _members(roots, mark, proc).values()) / os.sysconf("SC_CLK_TCK")

"""One line of the doctor's report."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(slots=True, frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it; `fail` keeps recray from running."""

    name: str
    status: Status
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    """As it should be."""
    return Finding(name, "ok", found)


def warn(name: str, found: str, advice: str) -> Finding:
    """It runs, but not as well as it could or not as one may think."""
    return Finding(name, "warn", found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    """It does not run."""
    return Finding(name, "fail", found, advice)

"""A process that is killed between two changes of the file system, played in this one."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.parquet as pq
import pytest


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may catch it."""


def die_at(step: int, steps: Sequence[tuple[Any, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the step-th of these changes (object, name), counted from now, the last thing that does not happen."""
    left = step

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return change(*args, **kwargs)

        return changed

    for place, name in (*steps, (pq, "write_table")):
        monkeypatch.setattr(place, name, dying(getattr(place, name)))

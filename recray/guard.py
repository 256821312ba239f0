"""What keeps a stage from holding requests up: its budget of time, and a breaker that leaves it out while it keeps failing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from recray.errors import StageError

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass
class Guard:
    """Budget and breaker of one stage. State: failures in a row, and until when the stage is left out.

    After `patience` failures in a row the stage is not tried for `rest_s`; then one call tries it, and the others go on
    without it until that one has succeeded. Without a breaker every request would wait the whole budget for a part that hangs.
    """

    name: str
    budget_s: float
    patience: int
    rest_s: float
    timer: Callable[[], float]
    _failures: int = field(default=0, init=False)
    _open_until_s: float = field(default=float("-inf"), init=False)

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """What the work gives.

        Raises:
            StageError: it failed, missed its budget, or is left out for now.
        """
        if self._failures >= self.patience:
            if self.timer() < self._open_until_s:
                raise StageError(f"{self.name} failed {self._failures} times in a row and is left out for {self.rest_s} s")
            self._open_until_s = self.timer() + self.rest_s  # this call is the one that tries
        try:
            found = await asyncio.wait_for(work(), self.budget_s)
        except Exception as problem:
            # Whatever is wrong with one stage, the others can still answer; the log has the whole story.
            self._failures += 1
            self._open_until_s = self.timer() + self.rest_s
            _log.warning("%s failed: %r", self.name, problem, exc_info=not isinstance(problem, StageError | TimeoutError))
            raise StageError(f"{self.name} failed: {problem!r}") from problem
        self._failures = 0
        return found

"""Past capacity: what can be answered in time is let in, and the rest is told to come back, before any work is done for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recray.serving.counters import Counters
from recray.serving.problems import problem

_WEIGHT: Final = 0.2
"""Of the newest batch in the running mean: five batches on, a new pace is known."""
_ALWAYS: Final = 8


@dataclass
class Pace:
    """How fast requests are answered while any wait. State: a running mean of seconds per request, and the last batch's end."""

    timer: Callable[[], float]
    per_request_s: float = 0.0
    _ended_s: float = field(default=float("-inf"))

    def batch(self, n: int, began_s: float) -> None:
        """A batch of n requests ended now; what it took counts from the end of the one before, when they overlapped."""
        now_s = self.timer()
        measured = (now_s - max(began_s, self._ended_s)) / n
        self._ended_s = now_s
        self.per_request_s += _WEIGHT * (measured - self.per_request_s) if self.per_request_s else measured


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether one more request could be answered within `most_s`, by how many are in and how fast they go.

    A few are always let in: one slow batch, a first one for instance, must not close the door for good.
    """

    pace: Pace
    n_inside: Callable[[], int]
    most_s: float

    def open(self) -> bool:
        return self.n_inside() < _ALWAYS or self.n_inside() * self.pace.per_request_s <= self.most_s


class Shedding:
    """ASGI layer that refuses recommendations while admission is closed: 503 with Retry-After, at a twentieth of their cost.

    Feedback, profiles and what operators ask always pass: they need no models, and an action that is lost is lost for good.
    """

    def __init__(self, app: ASGIApp, prefix: str, admission: Admission, counters: Counters) -> None:
        self._app, self._prefix, self._admission, self._counters = app, prefix, admission, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "GET" and scope["path"].startswith(self._prefix) and not self._admission.open():
            self._counters.shed.inc()
            refusal = problem(503, "Too many requests at once", "the server answers as many as it can; ask again")
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, self._counted(send))

    def _counted(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._counters.errors.labels(str(message["status"])).inc()
            await send(message)

        return counting

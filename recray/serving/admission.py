"""Past capacity: what can be answered in time is let in, and the rest is told to come back, before any work is done for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recray.serving.counters import Counters
from recray.serving.problems import problem

_WEIGHT: Final = 0.2
"""Of the newest batch in the running mean: five batches on, a new pace is known."""
_PER_BATCH: Final = 4
"""Let in for each batch however slow: what a batch costs whatever its size would else be most of what it costs."""


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

    A few are always let in, for each of the `n_batches` that may be under way and for the one that waits: one slow batch, a
    first one for instance, must not close the door for good, and batches must not shrink to what the door lets in meanwhile.
    """

    pace: Pace
    n_inside: Callable[[], int]
    most_s: float
    n_batches: int

    def open(self) -> bool:
        inside = self.n_inside()
        return inside < _PER_BATCH * (self.n_batches + 1) or inside * self.pace.per_request_s <= self.most_s


@dataclass(frozen=True, slots=True)
class Door:
    """Refuses recommendations, which are asked for below `prefix`, while admission is closed: 503 with Retry-After.

    Feedback, profiles and what operators ask always pass: they need no models, and an action that is lost is lost for good.
    """

    prefix: str
    admission: Admission
    counters: Counters

    def guards(self, scope: Scope) -> bool:
        """Whether this is a request that may be refused."""
        return scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(self.prefix)

    def refusal(self) -> ASGIApp | None:
        """What answers such a request now; None lets it in."""
        if self.admission.open():
            return None
        self.counters.shed.inc()
        # Made anew each time: whoever passes an answer on may add headers to it, in place.
        return problem(503, "Too many requests at once", "the server answers as many as it can; ask again")


class Shedding:
    """ASGI layer of a door, and of what is counted of every answer that passes it."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._door.refusal() if self._door.guards(scope) else None
        if refusal is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, self._counted(send) if scope["type"] == "http" else send)

    def _counted(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._door.counters.errors.labels(str(message["status"])).inc()
            await send(message)

        return counting

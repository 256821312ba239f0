"""What a load met, request by request in columns, and the figures made of them."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recray.schema import Bools, word
from recray.simulation.http_client import Reply
from recray.simulation.loops import percentiles_ms
from recray.simulation.sessions import ENDPOINTS

_BUCKETS_PER_DECADE: Final = 10
_LEAST_EXPONENT, _MOST_EXPONENT = -4, 2
"""The histogram goes from 0.1 ms to 100 s; what is beyond falls into its first or last bucket."""
MOST_LAG_MS: Final = 5.0
"""A client whose event loop is later than this at p99 measures itself."""


class Fate(IntEnum):
    """How a request ended. From REFUSED on it failed."""

    ANSWERED = 0
    DEGRADED = 1
    TURNED_AWAY = 2
    """503 with Retry-After: the server says that it is full, and when to come again."""
    REFUSED = 3
    """Any other status that is not 2xx, or a body that is not what the endpoint answers."""
    BROKEN = 4
    """The connection broke, was not made, or gave no answer within 30 s."""
    UNANSWERED = 5
    """Still under way when the run was over and its patience too."""
    SHED_BY_CLIENT = 6
    """Never sent: too many requests were under way already."""


def fate_of(reply: Reply) -> Fate:
    """How a request ended, by its reply alone."""
    if reply.status == 0:
        return Fate.BROKEN
    if reply.retry_after_s is not None:
        return Fate.TURNED_AWAY
    if not 200 <= reply.status < 300:
        return Fate.REFUSED
    return Fate.DEGRADED if reply.degraded else Fate.ANSWERED


@dataclass(slots=True)
class Sessions:
    """How sessions ended: as the viewer meant to, given up after a failure, or cut by the end of the run."""

    started: int = 0
    finished: int = 0
    abandoned: int = 0
    cut: int = 0


@dataclass(slots=True)
class Traffic:
    """A load while it runs and afterwards. Latencies count from the due moment.

    `due_s` counts from the moment at which the measurement begins. What was due before is the lead-in: it is in none of the
    figures, but its failures count. `began_s` is that moment on the event loop's clock.
    """

    began_s: float = 0.0
    seconds: float = 0.0
    due_s: "array[float]" = field(default_factory=lambda: array("d"))
    latency_s: "array[float]" = field(default_factory=lambda: array("d"))
    endpoint: bytearray = field(default_factory=bytearray)
    fate: bytearray = field(default_factory=bytearray)
    statuses: Counter[int] = field(default_factory=Counter)
    degraded_stages: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    sessions: Sessions = field(default_factory=Sessions)
    lags_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, endpoint: str, due_s: float, latency_s: float, fate: Fate) -> None:
        """Write down how a request ended."""
        self.due_s.append(due_s)
        self.latency_s.append(latency_s)
        self.endpoint.append(ENDPOINTS.index(endpoint))
        self.fate.append(fate)

    @property
    def n_failed(self) -> int:
        """Requests that failed; those turned away with Retry-After are not among them."""
        return sum(self.fate.count(fate) for fate in Fate if fate >= Fate.REFUSED)

    @property
    def lag_p99_ms(self) -> float | None:
        """How late the client's own event loop was."""
        return percentiles_ms(self.lags_s)["p99_ms"]

    def facts(self) -> dict[str, Any]:
        """Everything as JSON values: totals, by endpoint, by second, the histogram, feedback, sessions and the client."""
        everything = _Columns.of(self)
        columns = everything.where(everything.due_s >= 0)
        feedback = {name: self.verdicts.get(name, 0) for name in ("accepted", "duplicate")}
        reasons = {name: n for name, n in self.verdicts.items() if name not in feedback}
        lag = percentiles_ms(self.lags_s)
        return {
            **columns.figures(self.seconds),
            "failed": self.n_failed,
            "lead_in_requests": len(everything.fate) - len(columns.fate),
            "shed_by_client": self.fate.count(Fate.SHED_BY_CLIENT),
            "seconds": round(self.seconds, 3),
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "degraded_stages": dict(self.degraded_stages),
            "feedback": {
                "accepted": feedback["accepted"],
                "duplicates": feedback["duplicate"],
                "rejected": sum(reasons.values()),
                "reasons": reasons,
            },
            "endpoints": {
                name: columns.where(columns.endpoint == place).figures(self.seconds)
                for place, name in enumerate(ENDPOINTS)
                if place in columns.endpoint
            },
            "sessions": {name: getattr(self.sessions, name) for name in Sessions.__slots__},
            "series": columns.series(),
            "histogram": histogram(columns.latency_s),
            "client": {"lag_p50_ms": lag["p50_ms"], "lag_p99_ms": lag["p99_ms"], "distorted": self.distorted},
        }

    @property
    def distorted(self) -> bool:
        """Whether the client was too late for its figures to be the server's."""
        return (self.lag_p99_ms or 0.0) > MOST_LAG_MS


@dataclass(slots=True, frozen=True)
class _Columns:
    """Requests as arrays [n]: float64, float64, uint8, uint8."""

    due_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    endpoint: NDArray[np.uint8]
    fate: NDArray[np.uint8]

    @staticmethod
    def of(traffic: Traffic, start: int = 0) -> "_Columns":
        # Slices are copies: an array that lends its buffer could not grow meanwhile.
        return _Columns(
            np.array(traffic.due_s[start:], np.float64),
            np.array(traffic.latency_s[start:], np.float64),
            np.frombuffer(bytes(traffic.endpoint[start:]), np.uint8),
            np.frombuffer(bytes(traffic.fate[start:]), np.uint8),
        )

    def where(self, rows: Bools | NDArray[np.intp]) -> "_Columns":
        return _Columns(self.due_s[rows], self.latency_s[rows], self.endpoint[rows], self.fate[rows])

    def figures(self, seconds: float) -> dict[str, Any]:
        """Requests by fate, per second, and latencies of all of them, the failed ones included."""
        counts = np.bincount(self.fate, minlength=len(Fate))
        answered = int(counts[Fate.ANSWERED] + counts[Fate.DEGRADED])
        return {
            "due": len(self.fate),
            "answered": answered,
            "requests_per_s": round(answered / seconds, 2) if seconds else 0.0,
            "asked_per_s": round(len(self.fate) / seconds, 2) if seconds else 0.0,
            **percentiles_ms(self.latency_s),
            "max_ms": round(float(self.latency_s.max(initial=0.0)) * 1_000, 3),
            "fates": {word(fate): int(counts[fate]) for fate in Fate},
        }

    def series(self) -> list[dict[str, Any]]:
        """By second: requests due in it, their latencies and ends, and how many answers arrived in it, whenever due."""
        due, ended = self.due_s.astype(np.int64), (self.due_s + self.latency_s).astype(np.int64)
        n_seconds = int(max(due.max(initial=-1), ended.max(initial=-1))) + 1
        arrived = np.bincount(ended[self.fate <= Fate.DEGRADED], minlength=n_seconds)
        order = np.argsort(due, kind="stable")
        bounds = np.searchsorted(due[order], np.arange(n_seconds + 1))
        found = []
        for second in range(n_seconds):
            mine = self.where(order[bounds[second] : bounds[second + 1]])
            found.append(
                {
                    "second": second,
                    "due": len(mine.fate),
                    "answered": int(arrived[second]),
                    **percentiles_ms(mine.latency_s),
                    "degraded": int((mine.fate == Fate.DEGRADED).sum()),
                    "turned_away": int((mine.fate == Fate.TURNED_AWAY).sum()),
                    "errors": int((mine.fate >= Fate.REFUSED).sum()),
                }
            )
        return found


def histogram(latencies_s: Sequence[float] | NDArray[np.float64]) -> dict[str, Any]:
    """Counts of latencies in buckets that grow by a tenth of a decade, from 0.1 ms to 100 s: n + 1 edges, n counts."""
    edges = np.logspace(_LEAST_EXPONENT, _MOST_EXPONENT, (_MOST_EXPONENT - _LEAST_EXPONENT) * _BUCKETS_PER_DECADE + 1)
    counts, _ = np.histogram(np.clip(latencies_s, edges[0], edges[-1]), edges)
    return {"edges_ms": np.round(edges * 1_000, 4).tolist(), "counts": counts.tolist()}


def recent(traffic: Traffic, start: int, seconds: float) -> dict[str, Any]:
    """Figures of the requests that ended since row `start`."""
    return _Columns.of(traffic, start).figures(seconds)

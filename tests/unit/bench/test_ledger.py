"""When answers were whole again, and which acknowledged events the log lacks."""

import re
from typing import Any

import msgspec
import pytest

from recray.bench.faults import faults_of
from recray.bench.ledger import Ledger
from recray.errors import ConfigError
from recray.simulation.http_client import Reply
from recray.simulation.sessions import FEEDBACK, Ask

PAGE = Ask("homepage", "/")
WHOLE, DEGRADED = Reply(200, False), Reply(200, True)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def replied(*replies: tuple[float, float, Reply]) -> tuple[Ledger, Clock]:
    """A ledger of page requests, each with the moments at which it was sent and answered."""
    clock = Clock()
    ledger = Ledger(clock)
    for sent_s, clock.now_s, reply in replies:
        ledger.write(PAGE, reply, sent_s)
    return ledger, clock


@pytest.mark.parametrize(
    ("replies", "whole_from_s"),
    [
        ([(10.5, 10.6, WHOLE), (12, 12.1, WHOLE)], 10.0),
        ([(10.2, 10.3, DEGRADED), (10.9, 11.0, DEGRADED), (11.5, 11.6, WHOLE), (13, 13.1, WHOLE)], 11.0),
        ([(10.2, 13.2, WHOLE), (13.5, 13.6, WHOLE), (15, 15.1, WHOLE)], 13.2),
        ([(10.2, 10.3, DEGRADED), (10.8, 10.9, WHOLE)], None),
        ([(10.2, 10.3, DEGRADED), (15, 15.1, DEGRADED)], None),
    ],
    ids=["nothing happened", "after the last of a run", "a late answer lasts until it came", "too soon to say", "nobody asked"],
)
def test_answers_are_whole_from_the_first_good_second_on(
    replies: list[tuple[float, float, Reply]], whole_from_s: float | None
) -> None:
    ledger, _ = replied(*replies)
    assert ledger.whole_from(10.0) == whole_from_s


def test_failed_and_refused_requests_are_not_whole() -> None:
    for reply in (Reply(0, False), Reply(500, False), Reply(503, False, 1.0)):
        ledger, clock = replied((10.1, 10.2, reply), (10.5, 10.6, WHOLE))
        clock.now_s = 12.0
        assert ledger.whole_from(10.0) == 10.2


class Log:
    """The part of a store that is read: one shard's events."""

    def __init__(self, *events: tuple[str, str]) -> None:
        self._events = [
            (str(n), {"event_id": name, "user_id": "u", "profile_id": "p", "content_id": title, "action": "play"})
            for n, (name, title) in enumerate(events)
        ]

    async def events(self, shard: int, after: str, limit: int) -> list[tuple[str, dict[str, Any]]]:
        return [] if after else self._events


async def test_lost_are_acknowledged_events_that_the_log_lacks() -> None:
    ledger, _ = replied()
    titles = {"kept": "a", "gone": "b", "same-fact": "a", "repeated": "c", "refused": "d"}
    body = [
        {"event_id": name, "user_id": "u", "profile_id": "p", "content_id": t, "action": "play"} for name, t in titles.items()
    ]
    verdicts = ["accepted", "accepted", "duplicate", "duplicate", "rejected: why"]
    ask = Ask(FEEDBACK, "/feedback", msgspec.json.encode(body))
    ledger.write(ask, Reply(202, False, None, msgspec.json.encode({"verdicts": verdicts})), 0.0)
    log: Any = Log(("kept", "a"), ("repeated", "c"), ("repeated", "c"))
    assert await ledger.kept(log, 1) == {"acknowledged": 4, "lost": 1, "duplicated": 1}


def test_faults_are_those_of_the_topology_and_unknown_names_are_refused() -> None:
    assert "ranker-frozen" in {fault.name for fault in faults_of("composed")}
    assert "ranker-frozen" not in {fault.name for fault in faults_of("fused")}
    assert [fault.name for fault in faults_of("fused", ["store-killed", "ranker-frozen"])] == ["store-killed"]
    with pytest.raises(ConfigError, match=re.escape("faults ['nobody-killed']; expected some of features-killed")):
        faults_of("fused", ["nobody-killed"])
    with pytest.raises(ConfigError, match="topology is 'both'; expected fused or composed"):
        faults_of("both")

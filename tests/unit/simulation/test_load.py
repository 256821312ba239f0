"""Whole loads on a jumping clock, against servers that are told how to behave: what is counted, and when what was due."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from jumping_loop import run
from recray.settings import TrafficSettings
from recray.simulation.audience import Item, invented
from recray.simulation.http_client import Reply
from recray.simulation.load import Plan, Snapshot, drive_over
from recray.simulation.rate import parse
from recray.simulation.sessions import FEEDBACK, Ask, Listed, Row
from recray.simulation.traffic import Fate, Traffic, histogram

_BODY = msgspec.json.encode(Listed("r1", rows=[Row([Item(f"t{n}", f"Name {n}", ["Drama"]) for n in range(10)])]))
Behaviour = Callable[[Ask, float, int], tuple[float, Reply]]
"""Of a request, the moment it came, and how many came before: seconds until the reply, and the reply."""


def served(ask: Ask, at_s: float = 0.0, number: int = 0) -> tuple[float, Reply]:
    """Takes 10 ms and accepts everything."""
    if ask.endpoint != FEEDBACK:
        return 0.01, Reply(200, False, None, _BODY)
    return 0.01, Reply(202, False, None, json.dumps({"verdicts": ["accepted"] * len(json.loads(ask.body))}).encode())


class Server:
    """Lines to one server. State: what came, and when."""

    def __init__(self, behaviour: Behaviour = served) -> None:
        self.behaviour, self.came = behaviour, list[tuple[float, Ask]]()

    async def send(self, ask: Ask) -> Reply:
        now_s = asyncio.get_running_loop().time()
        takes_s, reply = self.behaviour(ask, now_s, len(self.came))
        self.came.append((now_s, ask))
        await asyncio.sleep(takes_s)
        return reply


def plan(rate: str = "20:60s", seed: int = 1, **settings: float) -> Plan:
    return Plan(invented(30, 1), parse(rate, None), seed, "run", TrafficSettings(**settings))  # type: ignore[arg-type]


def driven(server: Server, given: Plan, watch: Callable[[Snapshot], None] | None = None, n_lines: int = 50) -> Traffic:
    return run(lambda: drive_over([server.send] * n_lines, given, watch))


def fates(traffic: Traffic) -> Counter[Fate]:
    return Counter(Fate(fate) for fate in traffic.fate)


def test_the_asked_rate_is_reached_from_the_first_second_on() -> None:
    facts = driven(Server(), plan("200:60s")).facts()
    assert facts["asked_per_s"] == pytest.approx(200, rel=0.07)
    first = sum(second["due"] for second in facts["series"][:10])
    assert first == pytest.approx(2_000, rel=0.15)
    assert facts["p99_ms"] == pytest.approx(10.0, abs=0.01)
    assert (facts["failed"], facts["fates"]["answered"]) == (0, facts["due"])


def test_steps_are_followed() -> None:
    due = [second["due"] for second in driven(Server(), plan("20:60s,200:60s", think_s=0.2)).facts()["series"]]
    assert np.mean(due[:58]) == pytest.approx(20, rel=0.2)
    assert np.mean(due[70:120]) == pytest.approx(200, rel=0.1)


def test_the_same_seed_asks_the_same_at_the_same_moments() -> None:
    first, again, other = Server(), Server(), Server()
    for server, seed in ((first, 1), (again, 1), (other, 2)):
        driven(server, plan("20:20s", seed))
    assert first.came == again.came
    assert first.came != other.came


def test_a_stalled_server_shows_in_every_request_that_was_due_meanwhile() -> None:
    def stalls(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        takes_s, reply = served(ask)
        return (40.0 - at_s + takes_s, reply) if 35.0 <= at_s < 40.0 else (takes_s, reply)

    # One line: while it is stalled nothing more is sent, and everything due must count all the same.
    facts = driven(Server(stalls), plan("20:60s"), n_lines=1).facts()
    assert facts["p50_ms"] < 1_000
    assert facts["p99_ms"] > 4_000
    stalled = [second for second in facts["series"] if (second["p99_ms"] or 0) > 2_000]
    assert sum(second["due"] for second in stalled) >= 25
    assert facts["answered"] == facts["due"]


def test_degraded_answers_and_their_stages_are_counted() -> None:
    body = msgspec.json.encode(Listed("r", ["features", "ranking"]))

    def degrades(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        return (0.01, Reply(200, True, None, body)) if ask.endpoint == "search" else served(ask)

    traffic = driven(Server(degrades), plan())
    facts = traffic.facts()
    n_degraded = facts["endpoints"]["search"]["fates"]["degraded"]
    assert n_degraded == facts["endpoints"]["search"]["due"] > 0
    assert facts["fates"]["degraded"] == n_degraded
    assert facts["degraded_stages"] == dict.fromkeys(("features", "ranking"), fates(traffic)[Fate.DEGRADED])
    assert (facts["failed"], facts["endpoints"]["homepage"]["fates"]["degraded"]) == (0, 0)


def test_feedback_is_counted_by_verdict() -> None:
    verdicts = ["accepted", "duplicate", "rejected: no such title"]

    def judges(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        return (0.01, Reply(202, False, None, json.dumps({"verdicts": verdicts}).encode())) if ask.body else served(ask)

    feedback = driven(Server(judges), plan()).facts()["feedback"]
    n = feedback["accepted"]
    assert n > 100
    assert feedback == {"accepted": n, "duplicates": n, "rejected": n, "reasons": {"rejected: no such title": n}}


def test_who_is_turned_away_comes_again_when_told_and_not_before() -> None:
    def is_full(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        return 0.01, Reply(503, False, 4.0)

    server = Server(is_full)
    traffic = driven(server, plan("5:60s", tries=3))
    tries: dict[int, list[float]] = {}
    for at_s, ask in server.came:
        tries.setdefault(id(ask), []).append(at_s)
    gaps = np.concatenate([np.diff(moments) for moments in tries.values()])
    assert len(gaps) > 20
    assert ((gaps >= 4.01) & (gaps <= 5.02)).all()
    assert max(map(len, tries.values())) == 3
    assert fates(traffic).keys() == {Fate.TURNED_AWAY}
    assert traffic.n_failed == 0
    assert traffic.sessions.abandoned > 0
    assert traffic.facts()["statuses"] == {"503": len(server.came)}


def test_a_503_without_retry_after_is_a_failure() -> None:
    traffic = driven(Server(lambda ask, at_s, number: (0.01, Reply(503, False))), plan("5:20s"))
    assert traffic.n_failed == len(traffic.fate) > 0


@pytest.mark.parametrize(
    ("reply", "fate"),
    [(Reply(500, False), Fate.REFUSED), (Reply(404, False), Fate.REFUSED), (Reply(0, False), Fate.BROKEN),
     (Reply(200, False, None, b"<html>"), Fate.REFUSED)],
)  # fmt: skip
def test_a_page_that_fails_is_counted_and_its_viewer_leaves(reply: Reply, fate: Fate) -> None:
    traffic = driven(Server(lambda ask, at_s, number: (0.01, reply) if ask.endpoint == "category" else served(ask)), plan())
    found = fates(traffic)
    assert found.keys() == {Fate.ANSWERED, fate}
    assert found[fate] == traffic.sessions.abandoned == traffic.n_failed > 0
    assert traffic.statuses[reply.status] >= found[fate]
    facts = traffic.facts()
    assert facts["endpoints"]["category"]["answered"] == 0
    assert facts["endpoints"]["homepage"]["answered"] == facts["endpoints"]["homepage"]["due"]
    assert sum(second["errors"] for second in facts["series"]) == facts["endpoints"]["category"]["due"]


def test_feedback_that_was_not_acknowledged_is_sent_again_with_the_same_event_ids() -> None:
    broken = set[bytes]()

    def breaks_once(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        if ask.body and ask.body not in broken:
            broken.add(ask.body)
            return 0.01, Reply(0, False)
        return served(ask)

    server = Server(breaks_once)
    traffic = driven(server, plan("10:60s"))
    sent = Counter(ask.body for _, ask in server.came if ask.body)
    assert max(sent.values()) == 2
    assert sum(n == 2 for n in sent.values()) > 0.9 * len(sent)
    assert fates(traffic)[Fate.BROKEN] == len(broken)
    assert traffic.sessions.abandoned == 0


def test_what_exceeds_the_bound_is_shed_with_the_age_it_reached_and_never_dropped() -> None:
    def hangs(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        return 25.0, Reply(200, False, None, _BODY)

    traffic = driven(Server(hangs), plan("10:60s", most_under_way=12), n_lines=4)
    found = fates(traffic)
    assert found[Fate.SHED_BY_CLIENT] > 10
    shed = [latency for latency, fate in zip(traffic.latency_s, traffic.fate, strict=True) if fate == Fate.SHED_BY_CLIENT]
    assert min(shed) > 0.1
    facts = traffic.facts()
    assert facts["shed_by_client"] == found[Fate.SHED_BY_CLIENT]
    assert facts["failed"] == traffic.n_failed >= facts["shed_by_client"]
    assert found.total() == len(traffic.due_s)


def test_what_is_never_answered_is_counted_when_patience_ends() -> None:
    traffic = driven(Server(lambda ask, at_s, number: (1e6, Reply(200, False))), plan("5:20s", drain_s=5.0), n_lines=1_000)
    assert fates(traffic).keys() == {Fate.UNANSWERED}
    assert traffic.seconds == pytest.approx(20.0)
    oldest = max(traffic.latency_s)
    assert 25.0 < oldest < 32.0
    assert traffic.sessions.cut == len(traffic.fate)


def test_a_load_can_be_stopped_and_says_how_long_it_was() -> None:
    server = Server()

    async def stopped() -> Traffic:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_at(30.0, stop.set)
        return await drive_over([server.send] * 20, plan("20:600s"), None, stop)

    traffic = run(stopped)
    assert traffic.seconds < 30.0
    assert max(at_s for at_s, _ in server.came) <= 30.0
    ended = traffic.sessions
    assert ended.started == ended.finished + ended.abandoned + ended.cut
    assert traffic.n_failed == 0


def test_snapshots_speak_of_the_last_seconds() -> None:
    def slow_later(ask: Ask, at_s: float, number: int) -> tuple[float, Reply]:
        takes_s, reply = served(ask)
        return (0.5 if at_s > 40.0 else takes_s), reply

    seen: list[Snapshot] = []
    driven(Server(slow_later), plan("50:60s"), seen.append)
    early, late = next(snapshot for snapshot in seen if snapshot["at_s"] >= 20), seen[-24]
    assert seen[0]["at_s"] < 0 <= min(snapshot["asked_per_s"] for snapshot in seen)
    assert early["p99_ms"] == pytest.approx(10.0, abs=0.1)
    assert late["p50_ms"] == pytest.approx(500.0, abs=0.1)
    assert late["asked_per_s"] == pytest.approx(50, rel=0.5)
    assert late["wanted_per_s"] == 50.0
    assert late["accepted"] > 0


def test_no_two_sessions_report_the_same_event() -> None:
    server = Server()
    driven(server, plan("50:30s"))
    reported = [event["event_id"] for _, ask in server.came if ask.body for event in json.loads(ask.body)]
    assert len(set(reported)) == len(reported) > 1_000


def test_totals_endpoints_and_seconds_agree() -> None:
    traffic = driven(Server(), plan("30:40s"))
    facts = traffic.facts()
    assert sum(one["due"] for one in facts["endpoints"].values()) == facts["due"]
    assert sum(second["due"] for second in facts["series"]) == facts["due"]
    assert sum(facts["histogram"]["counts"]) == facts["due"]
    assert facts["due"] + facts["lead_in_requests"] == len(traffic.fate)
    assert facts["requests_per_s"] == pytest.approx(facts["answered"] / 40.0, rel=0.01)
    assert facts["client"] == {"lag_p50_ms": 0.0, "lag_p99_ms": 0.0, "distorted": False}


def test_a_late_client_says_so() -> None:
    traffic = Traffic()
    traffic.lags_s.extend([0.001] * 98 + [0.02] * 2)
    assert traffic.facts()["client"] == {"lag_p50_ms": 1.0, "lag_p99_ms": 20.0, "distorted": True}
    traffic.lags_s.extend([0.001] * 200)
    assert not traffic.distorted


def test_the_histogram_loses_nothing_at_its_ends() -> None:
    found = histogram([0.0, 0.00011, 0.01, 1e5])
    assert (len(found["edges_ms"]), sum(found["counts"])) == (len(found["counts"]) + 1, 4)
    assert (found["counts"][0], found["counts"][-1]) == (2, 1)
    place = found["counts"].index(1)
    assert found["edges_ms"][place] <= 10.0 <= found["edges_ms"][place + 1]
    assert sum(histogram([])["counts"]) == 0


def test_a_load_that_met_nothing_has_figures_too() -> None:
    facts = Traffic().facts()
    assert (facts["due"], facts["p99_ms"], facts["series"], facts["endpoints"]) == (0, None, [], {})

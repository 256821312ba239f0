"""Loads on a clock that jumps from one timer to the next, against servers that take as long as they are told."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from jumping_loop import run
from recray.simulation.http_client import Reply
from recray.simulation.loops import Outcome, closed_loop, open_loop, percentiles_ms


class Server:
    """A line whose n-th answer takes as long as `takes_s` says."""

    def __init__(self, takes_s: Callable[[int], float], status: int = 200) -> None:
        self.takes_s, self.status, self.paths = takes_s, status, list[str]()

    async def get(self, path: str) -> Reply:
        self.paths.append(path)
        await asyncio.sleep(self.takes_s(len(self.paths)))
        return Reply(self.status, self.status == 200 and path == "/degraded")


def test_a_stall_counts_for_every_request_that_was_due_meanwhile() -> None:
    stalls_once = Server(lambda n: 1.0 if n == 1 else 0.0)
    due_s = [n / 10 for n in range(20)]
    outcome = run(lambda: open_loop([stalls_once], ["/"], due_s))
    expected = [1.0 - n / 10 for n in range(10)] + [0.0] * 10
    np.testing.assert_allclose(outcome.latencies_s, expected, atol=1e-9)
    assert percentiles_ms(outcome.latencies_s)["p99_ms"] == pytest.approx(1_000)


def test_the_closed_loop_hides_the_same_stall() -> None:
    outcome = run(lambda: closed_loop([Server(lambda n: 1.0 if n == 1 else 0.1)], ["/"], 1.95))
    np.testing.assert_allclose(sorted(outcome.latencies_s), [0.1] * 10 + [1.0], atol=1e-9)
    assert outcome.answered == 11
    assert outcome.seconds == pytest.approx(2.0)


def test_requests_wait_for_a_free_line_only_when_all_are_busy() -> None:
    lines = [Server(lambda n: 0.3), Server(lambda n: 0.3)]
    outcome = run(lambda: open_loop(lines, ["/"], [0.0, 0.0, 0.0]))
    np.testing.assert_allclose(sorted(outcome.latencies_s), [0.3, 0.3, 0.6], atol=1e-9)


def test_what_is_never_answered_is_an_error_as_old_as_it_got() -> None:
    hangs = Server(lambda n: 1e6)
    outcome = run(lambda: open_loop([hangs], ["/"], [0.0, 1.0], drain_s=5.0))
    assert (outcome.answered, outcome.errors) == (0, 2)
    np.testing.assert_allclose(sorted(outcome.latencies_s), [5.0, 6.0], atol=1e-9)


def test_refusals_are_errors_and_degraded_answers_are_counted() -> None:
    refused = run(lambda: open_loop([Server(lambda n: 0.1, status=503)], ["/"], [0.0, 0.5]))
    assert (refused.answered, refused.errors, refused.degraded) == (0, 2, 0)
    assert refused.failed == {503: 2}
    degraded = run(lambda: open_loop([Server(lambda n: 0.1)], ["/degraded", "/"], [0.0, 0.5, 1.0]))
    assert (degraded.answered, degraded.errors, degraded.degraded) == (3, 0, 2)


def test_paths_are_asked_in_turn_over_all_lines() -> None:
    lines = [Server(lambda n: 0.1), Server(lambda n: 0.1)]
    run(lambda: closed_loop(lines, ["/a", "/b", "/c"], 0.25))
    assert sorted(lines[0].paths + lines[1].paths) == ["/a", "/a", "/b", "/b", "/c", "/c"]


def test_percentile_is_a_latency_that_was_met() -> None:
    assert percentiles_ms([n / 1_000 for n in range(1, 101)]) == {"p50_ms": 50.0, "p99_ms": 99.0}
    assert percentiles_ms([0.003]) == {"p50_ms": 3.0, "p99_ms": 3.0}
    assert percentiles_ms([]) == {"p50_ms": None, "p99_ms": None}


def test_a_new_outcome_holds_nothing() -> None:
    assert (Outcome().answered, Outcome().errors, Outcome().latencies_s) == (0, 0, [])

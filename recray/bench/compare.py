"""The comparison: contestants in turn, each asked the same, checked against the others, warmed up, and measured twice."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

import msgspec

from recray.bench.agreement import agreed, shown
from recray.bench.contestants import CONTESTANTS, Running, running
from recray.bench.load import Job
from recray.bench.per_core import HOST
from recray.bench.prepared import Prepared
from recray.errors import ConfigError, DataError
from recray.experiments.assign import DEFAULT_RANKER
from recray.simulation import wrk

OPEN_SHARE: Final = 0.7
_N_ASKED: Final = 20
_WARM_SHARE: Final = 0.25
_LEAST_WARM_S: Final = 1.0
_TRIES: Final = 5
_REST_S: Final = 1.2
_MOST_SECONDS: Final = 600.0
_FIGURES: Final = ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms_per_request", "cpu_ms_per_request_open")
_COUNTS: Final = ("errors", "degraded")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. Each round measures each contestant for `seconds` at its peak and again at 70 % of it."""

    contestants: tuple[str, ...]
    endpoint: str
    seconds: float
    rounds: int
    connections: int
    cores: int
    seed: int

    def __post_init__(self) -> None:
        unknown = set(self.contestants) - set(CONTESTANTS)
        if unknown or not self.contestants:
            raise ConfigError(f"contestants are {list(self.contestants)}; expected some of {', '.join(CONTESTANTS)}")
        if not (0 < self.seconds <= _MOST_SECONDS and self.rounds > 0 and 0 < self.connections <= 1_000):
            raise ConfigError(
                f"seconds {self.seconds}, rounds {self.rounds}, connections {self.connections}; expected up to "
                f"{_MOST_SECONDS:.0f} seconds, at least one round, and 1 to 1000 connections"
            )


def compare(prepared: Prepared, plan: Plan, say: Say) -> dict[str, Any]:
    """Figures of every contestant (medians over rounds), ratios between them, and every round as it was measured.

    Raises:
        DataError: contestants do not answer alike, or one of them answers nothing.
    """
    paths = prepared.paths(plan.endpoint)
    rounds: list[dict[str, dict[str, Any]]] = []
    expected: dict[str, list[list[str]]] = {}
    overlaps: dict[str, float] = {}
    n_candidates: list[int] = []
    for number in range(plan.rounds):
        measured: dict[str, dict[str, Any]] = {}
        # Who comes first meets another machine than who comes last; each comes first in turn.
        turn = number % len(plan.contestants)
        for name in (*plan.contestants[turn:], *plan.contestants[:turn]):
            with running(CONTESTANTS[name], prepared, plan.cores, paths) as server:
                answers = _asked(name, server, paths[:_N_ASKED])
                n_candidates += [body["n_candidates"] for body in answers if "n_candidates" in body]
                listed = [shown(body) for body in answers]
                other = next(iter(expected), name)
                overlaps[name] = round(agreed(name, listed, other, expected.setdefault(other, listed)), 4)
                measured[name] = measure(server, paths, plan, plan.seed + number)
            say(f"round {number + 1}, {name}: {_line(measured[name])}")
        rounds.append(measured)
    medians = {name: _median([one[name] for one in rounds]) for name in plan.contestants}
    return {
        **{name: figures | {"about": CONTESTANTS[name].about} for name, figures in medians.items()},
        "ratios": ratios(medians),
        "overlap_at_20" if plan.endpoint == "flat" else "overlap": overlaps | {"with": next(iter(expected))},
        "candidates": int(median(n_candidates)) if n_candidates else prepared.settings.sources.n_candidates,
        "candidates_wanted": prepared.settings.sources.n_candidates,
        "ranker": DEFAULT_RANKER,
        "catalogue": prepared.catalogue,
        "profiles": len(prepared.keys),
        "bundle": prepared.bundle_id,
        "data": prepared.data,
        "endpoint": plan.endpoint,
        "request": paths[0],
        "response_cache": False,
        "connections": plan.connections,
        "seconds": plan.seconds,
        "load_tool": {"closed_loop": tool(), "open_loop": "own"},
        "rounds": rounds,
    }


def tool() -> Literal["wrk", "own"]:
    """What the closed loop is run with on this machine."""
    return "wrk" if wrk.installed() else "own"


def _asked(name: str, server: Running, paths: Sequence[str]) -> list[dict[str, Any]]:
    """Whole answers; the first requests of a replica may miss a deadline, so each is asked again when its stages are back."""
    answers = []
    for path in paths:
        found = server.ask(path)
        for _ in range(_TRIES):
            if found is not None:
                break
            time.sleep(_REST_S)
            found = server.ask(path)
        if found is None:
            raise DataError(f"{name} gave no whole answer to {path} in {_TRIES} tries; its stages fail or miss their deadline")
        answers.append(found)
    return answers


def measure(server: Running, paths: list[str], plan: Plan, seed: int) -> dict[str, Any]:
    """Figures of one contestant that runs: warmed up, at its peak, and at 70 % of that.

    Raises:
        DataError: it answers nothing.
    """

    def load(kind: Literal["closed", "open"], seconds: float, rate: float = 0.0) -> dict[str, Any]:
        job = Job(kind=kind, tool=tool(), host=HOST, port=server.port, paths=paths, connections=plan.connections,
                  seconds=seconds, rate=rate, seed=seed, roots=server.roots, mark=server.mark)  # fmt: skip
        return _run(job)

    warm_up = load("closed", max(plan.seconds * _WARM_SHARE, _LEAST_WARM_S))
    peak = load("closed", plan.seconds)
    if not peak["answered"]:
        raise DataError(f"the peak run got no answer out of {peak['errors']} requests; see why the servers refuse")
    steady = load("open", plan.seconds, OPEN_SHARE * peak["requests_per_s"])
    return {
        "requests_per_s": peak["requests_per_s"],
        "p50_ms": steady["p50_ms"],
        "p99_ms": steady["p99_ms"],
        "cpu_ms_per_request": peak["cpu_ms_per_request"],
        "cpu_ms_per_request_open": steady["cpu_ms_per_request"],
        "errors": peak["errors"] + steady["errors"],
        "degraded": peak["degraded"] + steady["degraded"],
        "warm_up": warm_up,
        "closed_loop": peak,
        "open_loop": steady | {"rate_per_s": round(OPEN_SHARE * peak["requests_per_s"], 2)},
    }


def _run(job: Job) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "recray.bench.load"], input=msgspec.json.encode(job), capture_output=True, check=False,
        timeout=job.seconds + 120,
    )  # fmt: skip
    if ran.returncode:
        raise DataError(f"the load generator failed: {ran.stderr.decode(errors='replace')[-500:]}")
    facts: dict[str, Any] = msgspec.json.decode(ran.stdout)
    return facts


def _median(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of figures over the rounds that have them, and sums of counts."""
    found: dict[str, Any] = {}
    for name in _FIGURES:
        known = [one[name] for one in rounds if one[name] is not None]
        found[name] = round(median(known), 4) if known else None
    return found | {name: sum(one[name] for one in rounds) for name in _COUNTS}


def ratios(medians: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By figure, each of ours over each peer: `fused/monolith` and so on, where both were measured."""
    found: dict[str, dict[str, float]] = {}
    for figure in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms_per_request"):
        found[figure] = {
            f"{ours}/{peer}": round(medians[ours][figure] / medians[peer][figure], 3)
            for ours in ("fused", "composed", "monolith_tuned")
            for peer in ("monolith", "monolith_tuned")
            if ours != peer and {ours, peer} <= medians.keys() and medians[ours][figure] and medians[peer][figure]
        }
    return found


def _line(measured: dict[str, Any]) -> str:
    return (
        f"{measured['requests_per_s']:,.0f}/s, p50 {measured['p50_ms']} ms, p99 {measured['p99_ms']} ms, "
        f"{measured['cpu_ms_per_request']} ms CPU per request"
    )

"""The view of a load: one line, a live screen, and what goes wrong said in words."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from recray.cli import load_view
from recray.cli.load_view import View, plain, show_peak, show_result, sparkline
from recray.simulation.traffic import Fate, Traffic

NOW: dict[str, Any] = {
    "at_s": 6.0, "of_s": 30.0, "wanted_per_s": 50.0, "asked_per_s": 48.0, "requests_per_s": 47.5, "p50_ms": 12.0,
    "p99_ms": None, "under_way": 3, "failed": 1, "degraded": 0, "turned_away": 2, "accepted": 900,
}  # fmt: skip


def test_sparklines_are_as_high_as_their_share_of_the_highest() -> None:
    assert sparkline([0.0, 1.0, 2.0, 4.0, 8.0]) == " ▁▂▄█"
    assert (sparkline([]), sparkline([0.0])) == ("", " ")


def test_elsewhere_than_on_a_terminal_a_line_comes_every_five_seconds() -> None:
    to = Console(width=300, force_terminal=False, record=True, file=StringIO())
    with View(to) as view:
        for at_s in (-3.0, 0.5, 4.9, 5.0, 5.5, 9.9, 10.1):
            view.update(NOW | {"at_s": at_s})
    lines = to.export_text().splitlines()
    assert lines == [plain(NOW | {"at_s": 5.0}), plain(NOW | {"at_s": 10.1})]
    assert "wanted 50/s  asked 48/s  answered 48/s  p50 12.0 ms  p99 - ms" in lines[0]


def test_a_terminal_sees_the_last_seconds() -> None:
    to = Console(width=120, force_terminal=True, record=True, file=StringIO())
    with View(to) as view:
        view.update(NOW)
        to.print(view._screen(NOW))
        to.print(view._screen(NOW | {"at_s": -1.0}))
    shown = to.export_text()
    assert "6 of 30 s" in shown
    assert "lead-in" in shown
    assert "turned away" in shown


def test_the_end_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    to = Console(width=150, record=True, file=StringIO())
    monkeypatch.setattr(load_view, "console", to)
    traffic = Traffic(seconds=2.0)
    for latency_s, fate in ((0.01, Fate.ANSWERED), (0.012, Fate.DEGRADED), (0.5, Fate.REFUSED), (3.0, Fate.SHED_BY_CLIENT)):
        traffic.add("homepage", 0.5, latency_s, fate)
    traffic.statuses.update({200: 2, 500: 1})
    traffic.degraded_stages["features"] = 1
    traffic.verdicts.update({"accepted": 5, "rejected: no such title": 1})
    traffic.lags_s.append(0.05)
    show_result(traffic.facts())
    shown = to.export_text()
    for said in ("500 1", "features 1", "rejected: no such title 1", "requests 1", "client was 50.0 ms late", "homepage", "█"):
        assert said in shown
    show_peak(
        {"requests_per_s": 10.0, "connections": 4, "tool": "own", "p50_ms": 1.0, "p99_ms": 2.0, "errors": 0, "degraded": 0}
    )
    assert "10.0 answered per s over 4 connections (own)" in to.export_text()

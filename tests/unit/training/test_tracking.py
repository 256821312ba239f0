"""Tracking asks nobody, and what breaks in it does not break training."""

import logging
from pathlib import Path
from typing import Any

import pytest

from recray.training import tracking
from recray.training.tracking import NoTracking, WandbTracking


class Run:
    """A W&B run that keeps what it is given, or fails when asked to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails, self.steps, self.summary, self.finished = fails, [], {}, 0

    def log(self, figures: dict[str, float]) -> None:
        if self.fails:
            raise ConnectionError("no route to host")
        self.steps.append(figures)

    def finish(self) -> None:
        self.finished += 1


def test_figures_and_facts_reach_the_run() -> None:
    run = Run()
    tracked = WandbTracking(run)
    tracked.log({"ndcg": 0.5})
    tracked.summarize({"bundle": "b1"})
    tracked.finish()
    tracked.log({"ndcg": 0.6})
    assert (run.steps, run.summary, run.finished) == ([{"ndcg": 0.5}], {"bundle": "b1"}, 1)


def test_failure_is_logged_once_and_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    tracked = WandbTracking(Run(fails=True))
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            tracked.log({"ndcg": float(step)})
        tracked.finish()
    assert [record.message for record in caplog.records] == ["W&B could not log; the run goes on without tracking"]


def test_mode_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(tracking, "_answers", lambda url: bool(asked.append(url)) or "reachable" in url)
    assert tracking.mode({}) == "offline"
    assert tracking.mode({"WANDB_MODE": "disabled", "WANDB_API_KEY": "k"}) == "disabled"
    assert tracking.mode({"WANDB_MODE": "online"}) == "online"
    assert asked == []
    assert tracking.mode({"WANDB_API_KEY": "k"}) == "offline"
    assert tracking.mode({"WANDB_API_KEY": "k", "WANDB_BASE_URL": "https://reachable.example"}) == "online"
    assert asked == ["https://api.wandb.ai", "https://reachable.example"]


def test_host_that_refuses_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> None:
        assert (address, timeout) == (("wandb.example", 8080), 3.0)
        raise ConnectionRefusedError

    monkeypatch.setattr(tracking.socket, "create_connection", refuse)
    assert tracking.mode({"WANDB_API_KEY": "k", "WANDB_BASE_URL": "http://wandb.example:8080"}) == "offline"


def test_disabled_or_broken_tracking_is_a_run_that_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(tracking.start("a", {}, tmp_path, {"WANDB_MODE": "disabled"}), NoTracking)

    def broken(**_: Any) -> None:
        raise RuntimeError("no such service")

    monkeypatch.setattr(tracking.wandb, "init", broken)
    tracked = tracking.start("a", {}, tmp_path, {"WANDB_MODE": "offline"})
    assert isinstance(tracked, NoTracking)
    tracked.log({"ndcg": 0.5})
    tracked.summarize({})
    tracked.finish()

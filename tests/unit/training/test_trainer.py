import os
from pathlib import Path

import pytest
import ray.train

from recray.settings import TrainingSettings, resolve
from recray.training.trainer import Reporter, fresh_run, n_threads, scaling


def test_every_run_has_a_name_of_its_own(tmp_path: Path) -> None:
    settings = resolve({"home": str(tmp_path)})
    names = {fresh_run("deep", settings, []).name for _ in range(50)}
    assert len(names) == 50
    assert fresh_run("deep", settings, []).storage_path == str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("cpus_per_worker", "n_processes", "wanted"), [(4.0, 8, 4), (2.5, 1, 2), (0.5, 1, 6), (0.5, 2, 3), (0.5, 50, 1)]
)
def test_threads_of_a_process(cpus_per_worker: float, n_processes: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert n_threads(TrainingSettings(cpus_per_worker=cpus_per_worker), n_processes) == wanted


def test_workers_ask_for_what_the_settings_give() -> None:
    config = scaling(TrainingSettings(cpus_per_worker=0.5, use_gpu=True), 3)
    assert config.num_workers == 3
    assert config.resources_per_worker == {"CPU": 0.5, "GPU": 1.0}
    assert scaling(TrainingSettings(), 1).resources_per_worker == {"CPU": 0.5}


def test_reporter_passes_on_every_so_many_epochs_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[float] = []
    monkeypatch.setattr(ray.train, "report", lambda figures: passed.append(figures["epoch"]))
    reporter = Reporter("ndcg", every=3)
    for epoch, ndcg in enumerate((0.1, 0.4, 0.2, 0.3, 0.1)):
        reporter({"epoch": float(epoch), "ndcg": ndcg})
    assert passed == [0.0, 3.0]
    assert reporter.best == {"epoch": 1.0, "ndcg": 0.4}

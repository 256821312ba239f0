"""Searches on a real local Ray, W&B offline; one is interrupted and goes on."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

import example_world as world
from recray.errors import ConfigError
from recray.ranking import examples_file
from recray.settings import resolve
from recray.training import tracking
from recray.training.search import run_search
from recray.training.trial import SearchData

SMOKE = Path(__file__).parents[2] / "tune_configs" / "smoke.yaml"
OFFLINE = {"WANDB_MODE": "offline"}


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SearchData:
    folder = tmp_path_factory.mktemp("examples")
    examples_file.save(world.examples(300, 1), folder / "train")
    examples_file.save(world.examples(100, 2), folder / "validation")
    return SearchData(world.items(), folder)


def _settings(home: Path, **deep: Any) -> Any:
    return resolve({"home": str(home), "deep": {"epochs": 2} | deep, "training": {"max_concurrent_trials": 1}})


PATIENT = {"epochs": 4, "batch_size": 1, "learning_rate": 1e-5}
"""Steps so small and many that a trial is still under way when it is interrupted."""


def test_search_writes_the_best_settings_and_every_trial(tmp_path: Path, data: SearchData) -> None:
    found = run_search(SMOKE, _settings(tmp_path), data, name="smoke", environment=OFFLINE)
    folder = tmp_path / "sweeps" / "smoke"
    assert yaml.safe_load((folder / "best.yaml").read_text()) == found.best
    assert json.loads((folder / "trials.json").read_text()) == found.trials
    assert [trial["state"] for trial in found.trials] == ["finished", "finished"]
    assert found.value == max(trial["value"] for trial in found.trials)
    assert resolve(found.best).deep.hidden in {(64, 32), (32, 16)}
    assert len(list(folder.glob("*/wandb/offline-run-*"))) == 2

    again = run_search(SMOKE, _settings(tmp_path), data, name="smoke", environment=OFFLINE)
    assert again == found  # a complete sweep answers from what it found

    other = tmp_path / "other.yaml"
    other.write_text(SMOKE.read_text().replace("n_trials: 2", "n_trials: 3"))
    with pytest.raises(ConfigError, match="sweep smoke was begun with another search space"):
        run_search(other, _settings(tmp_path), data, name="smoke", environment=OFFLINE)


def test_interrupted_search_goes_on_where_it_stopped(tmp_path: Path, data: SearchData) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "model: deep\nmetric: ndcg\nn_trials: 2\nscheduler: {kind: fifo}\nspace: {deep.dropout: {uniform: [0.0, 0.3]}}\n"
    )
    folder = tmp_path / "sweeps" / "long"
    written = Path(ray._private.worker._global_node.get_session_dir_path())
    done = threading.Event()

    def interrupt_after_the_first_trial() -> None:
        while not done.wait(0.02):
            # Where Ray Tune writes first: to the sweep's folder files come later, on a fast machine when their trial has ended.
            if len(list(written.glob("artifacts/*/long/driver_artifacts/*/params.json"))) >= 2:
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt_after_the_first_trial)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt, match="of 2 trials; search under the same name to go on"):
            run_search(space, _settings(tmp_path, **PATIENT), data, name="long", environment={"WANDB_MODE": "disabled"})
    finally:
        done.set()
        watcher.join()
    before = {trial["trial"]: trial for trial in json.loads((folder / "trials.json").read_text())}
    finished = {name: trial for name, trial in before.items() if trial["state"] == "finished"}
    assert len(finished) == 1
    assert not (folder / "best.yaml").exists()

    found = run_search(space, _settings(tmp_path, **PATIENT), data, name="long", environment={"WANDB_MODE": "disabled"})
    after = {trial["trial"]: trial for trial in found.trials}
    assert len(after) == 2
    assert {trial["state"] for trial in found.trials} == {"finished"}
    assert {name: after[name] for name in finished} == finished


def test_search_without_its_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a search of deep needs a folder of examples; got none"):
        run_search(SMOKE, _settings(tmp_path), SearchData(world.items()), name="none", environment=OFFLINE)


def test_tracked_run_without_key_or_network_lies_in_a_folder(tmp_path: Path) -> None:
    tracked = tracking.start("train-1", {"seed": 1}, tmp_path / "tracking", {})
    tracked.log({"ndcg": 0.5})
    tracked.summarize({"bundle": "b1"})
    tracked.finish()
    assert len(list((tmp_path / "tracking" / "wandb").glob("offline-run-*/*.wandb"))) == 1

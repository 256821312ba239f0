"""Fits on a real local Ray: more logical CPUs than the machine has, one and two workers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import example_world as world
from recray.errors import DataError
from recray.features.interactions import Interactions
from recray.ranking import examples_file
from recray.ranking.ndcg import mean_ndcg
from recray.schema import Objective
from recray.settings import resolve
from recray.training.fit_boosted import fit_boosted_on_ray
from recray.training.fit_deep import fit_deep_on_ray
from recray.training.fit_sequence import fit_sequence_on_ray

FITS = {"deep": fit_deep_on_ray, "boosted": fit_boosted_on_ray}


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def examples_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    examples_file.save(world.examples(401, 1), folder / "train")  # odd: two workers must still step equally often
    examples_file.save(world.examples(100, 2), folder / "validation")
    return folder


def _settings(home: Path, **training: Any) -> Any:
    small = {"deep": {"hidden": [32, 16], "embedding_dim": 8, "epochs": 5, "learning_rate": 0.005}, "boosted": {"n_trees": 15}}
    return resolve({"home": str(home), "training": training, **small})


@pytest.mark.parametrize("model", FITS)
def test_ranker_is_fitted_on_two_workers_and_comes_back(model: str, examples_dir: Path, tmp_path: Path) -> None:
    """On one worker both are fitted by every training from end to end."""
    fitted = FITS[model](examples_dir, world.items(), _settings(tmp_path, n_workers=2), say=lambda figures: None)
    unseen = world.examples(100, 3)
    started = unseen.labels[:, :, Objective.START]
    assert mean_ndcg(fitted.model.predict(unseen.inputs)[:, :, Objective.START], started) > 0.4
    assert fitted.metrics["ndcg"] > 0.4
    judged = examples_file.load(examples_dir / "validation")
    found = mean_ndcg(fitted.model.predict(judged.inputs)[:, :, Objective.START], judged.labels[:, :, Objective.START])
    if model == "deep":  # the trees are judged on graded labels
        assert found == pytest.approx(fitted.metrics["ndcg"], abs=0.02)
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_failed_fit_says_why(tmp_path: Path) -> None:
    nothing = world.examples(10, 1)
    nothing.labels[:, :, Objective.START] *= 0
    for part in ("train", "validation"):
        examples_file.save(nothing, tmp_path / "examples" / part)
    with pytest.raises(Exception, match="none of 10 training requests has a started candidate") as failure:
        fit_boosted_on_ray(tmp_path / "examples", world.items(), _settings(tmp_path), say=lambda figures: None)
    assert not isinstance(failure.value, DataError)  # Ray Train wraps what a worker raises


def test_sequence_source_is_fitted_on_a_worker_and_comes_back(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    n_profiles, length = 40, 12
    profile = np.repeat(np.arange(n_profiles, dtype=np.int32), length)
    item = (draws.integers(0, 20, n_profiles)[:, None] + np.arange(length)).astype(np.int32).reshape(-1) % world.N_TITLES
    rows = len(item)
    seen = Interactions(
        profile,
        item.astype(np.int32),
        np.tile(np.arange(length, dtype=np.int64), n_profiles),
        np.ones(rows, np.float32),
        np.full(rows, np.nan, np.float32),
        np.ones(rows, np.float32),
        np.zeros(rows, np.int32),
        n_profiles,
        world.N_TITLES,
    )
    early = seen.where(seen.at_s < length - 2)
    settings = resolve({"home": str(tmp_path), "sequence": {"dim": 8, "epochs": 2, "max_length": 10, "blocks": 1}})
    heard: list[dict[str, float]] = []
    fitted = fit_sequence_on_ray(early, world.items(), settings, seen.where(seen.at_s >= length - 2), say=heard.append)
    assert [figures["epoch"] for figures in heard] == list(range(1, len(heard) + 1))
    assert heard
    assert fitted.model.config()["dim"] == 8
    assert np.isfinite(fitted.metrics["loss"])
    assert 0 <= fitted.metrics["ndcg@10"] <= 1

"""One trial of a search, in a process of its own, which imports what its model needs and nothing of the others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from recray.candidates import sequence
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.ranking import boosted, deep, examples_file
from recray.settings import Settings
from recray.training.space import Space, with_differences
from recray.training.trainer import n_threads


@dataclass(frozen=True, slots=True)
class SearchData:
    """What trials are fitted on: a folder with train and validation examples, or interactions for the sequence source."""

    items: Items
    examples_dir: Path | None = None
    interactions: Interactions | None = None
    validation: Interactions | None = None


def run_trial(config: dict[str, Any], *, space: Space, settings: Settings, data: SearchData) -> None:
    """Fit once with the settings of one trial, and report every epoch to Tune."""
    threads = n_threads(settings.training, settings.training.max_concurrent_trials)
    if space.model == "boosted":
        import xgboost

        xgboost.set_config(nthread=threads)
    else:
        import torch

        torch.set_num_threads(threads)
    _fit(space.model, with_differences(settings, space.differences(config)), data)


def _fit(model: str, settings: Settings, data: SearchData) -> None:
    seed, device = settings.training.seed, "cuda" if settings.training.use_gpu else "cpu"
    if model == "sequence":
        assert data.interactions is not None
        seen, after = data.interactions, data.validation
        sequence.fit(seen, data.items, settings.sequence, seed=seed, device=device, report=tune.report, validation=after)
        return
    assert data.examples_dir is not None
    train, validation = examples_file.load(data.examples_dir / "train"), examples_file.load(data.examples_dir / "validation")
    if model == "deep":
        deep.fit(train, validation, data.items, settings.deep, seed=seed, device=device, report=tune.report)
    else:
        boosted.fit(train, validation, data.items, settings.boosted, seed=seed, report=tune.report)

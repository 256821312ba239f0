"""The sequence source's fit on Ray Train. Knows nothing of transformers: `candidates.sequence.fit` does."""

import json
from typing import Any, Final

import ray
import ray.train.torch
import torch
from ray.train import UserCallback
from ray.train.torch import TorchTrainer
from safetensors.numpy import load, save

from recray.candidates.sequence import Sequence, fit
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.settings import Settings
from recray.training.progress import Say, fit_aloud
from recray.training.trainer import Fitted, Reporter, fresh_run, n_threads, outcome, scaling

_TENSORS: Final = "sequence.safetensors"
_CONFIG: Final = "sequence.json"


def fit_sequence_on_ray(
    interactions: Interactions,
    items: Items,
    settings: Settings,
    validation: Interactions | None = None,
    start: Sequence | None = None,
    *,
    say: Say,
) -> Fitted[Sequence]:
    """Fit on one worker, on a GPU where the settings ask for one: one epoch over all histories is one process's work.

    `validation` and `start` as for `candidates.sequence.fit`.

    Raises:
        ModelError: the run ended without a model.
    """
    data = ray.put((interactions, items, validation, start))

    def trainer(callbacks: list[UserCallback]) -> TorchTrainer:
        return TorchTrainer(
            _fit_on_worker,
            train_loop_config={"data": data, "settings": settings},
            scaling_config=scaling(settings.training, n_workers=1),
            run_config=fresh_run("sequence", settings, callbacks),
        )

    files, metrics = outcome(fit_aloud(trainer, say))
    return Fitted(Sequence.restore(load(files[_TENSORS]), json.loads(files[_CONFIG]), items), metrics)


def _fit_on_worker(config: dict[str, Any]) -> None:
    settings: Settings = config["settings"]
    torch.set_num_threads(n_threads(settings.training, 1))
    interactions, items, validation, start = ray.get(config["data"])
    reporter = Reporter("ndcg@10")
    source = fit(
        interactions,
        items,
        settings.sequence,
        seed=settings.training.seed,
        device=str(ray.train.torch.get_device()),
        report=reporter,
        validation=validation,
        start=start,
    )
    config_json = json.dumps(source.config(), sort_keys=True).encode()
    reporter.finish({_TENSORS: save(dict(source.tensors())), _CONFIG: config_json})

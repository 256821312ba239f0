"""The deep ranker's fit on Ray Train. Knows nothing of networks: `ranking.deep.fit` does."""

from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch
from ray.train import UserCallback
from ray.train.torch import TorchTrainer

from recray.features.items import Items
from recray.ranking import examples_file
from recray.ranking.deep import DeepRanker, fit
from recray.settings import Settings
from recray.training.progress import Say, fit_aloud
from recray.training.trainer import Fitted, Reporter, fresh_run, n_threads, outcome, scaling, shard


def fit_deep_on_ray(examples_dir: Path, items: Items, settings: Settings, *, say: Say) -> Fitted[DeepRanker]:
    """Fit on `examples_dir`/train and /validation, which every worker can read; several workers share the batches' gradients.

    Raises:
        ModelError: the run ended without a model.
    """
    config = {"examples_dir": str(examples_dir.resolve()), "items": ray.put(items), "settings": settings}

    def trainer(callbacks: list[UserCallback]) -> TorchTrainer:
        return TorchTrainer(
            _fit_on_worker,
            train_loop_config=config,
            scaling_config=scaling(settings.training, settings.training.n_workers),
            run_config=fresh_run("deep", settings, callbacks),
        )

    files, metrics = outcome(fit_aloud(trainer, say))
    return Fitted(DeepRanker.restore(files, items), metrics)


def _fit_on_worker(config: dict[str, Any]) -> None:
    settings, folder = config["settings"], Path(config["examples_dir"])
    torch.set_num_threads(n_threads(settings.training, settings.training.n_workers))
    train, validation = examples_file.load(folder / "train"), examples_file.load(folder / "validation")
    reporter = Reporter("ndcg")
    ranker = fit(
        train,
        validation,
        ray.get(config["items"]),
        settings.deep,
        seed=settings.training.seed,
        device=str(ray.train.torch.get_device()),
        report=reporter,
        share=shard(len(train)),
        wrap=ray.train.torch.prepare_model,
    )
    reporter.finish(ranker.files())

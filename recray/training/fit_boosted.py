"""The tree ranker's fit on Ray Train. Knows nothing of trees: `ranking.boosted.fit` does."""

from pathlib import Path
from typing import Any, Final

import ray
import xgboost
from ray.train import UserCallback
from ray.train.xgboost import XGBoostTrainer

from recray.features.items import Items
from recray.ranking import examples_file
from recray.ranking.boosted import BoostedRanker, fit
from recray.settings import Settings
from recray.training.progress import Say, fit_aloud
from recray.training.trainer import Fitted, Reporter, fresh_run, n_threads, outcome, scaling, shard

_ROUNDS_PER_REPORT: Final = 25


def fit_boosted_on_ray(examples_dir: Path, items: Items, settings: Settings, *, say: Say) -> Fitted[BoostedRanker]:
    """Fit on `examples_dir`/train and /validation, which every worker can read; several workers grow the same trees together.

    Raises:
        ModelError: the run ended without a model.
    """
    config = {"examples_dir": str(examples_dir.resolve()), "items": ray.put(items), "settings": settings}

    def trainer(callbacks: list[UserCallback]) -> XGBoostTrainer:
        return XGBoostTrainer(
            _fit_on_worker,
            train_loop_config=config,
            scaling_config=scaling(settings.training, settings.training.n_workers),
            run_config=fresh_run("boosted", settings, callbacks),
        )

    files, metrics = outcome(fit_aloud(trainer, say))
    return Fitted(BoostedRanker.restore(files, items), metrics)


def _fit_on_worker(config: dict[str, Any]) -> None:
    settings, folder = config["settings"], Path(config["examples_dir"])
    xgboost.set_config(nthread=n_threads(settings.training, settings.training.n_workers))
    train, validation = examples_file.load(folder / "train"), examples_file.load(folder / "validation")
    reporter = Reporter("ndcg", _ROUNDS_PER_REPORT)
    ranker = fit(
        train.take(shard(len(train))),
        validation,
        ray.get(config["items"]),
        settings.boosted,
        seed=settings.training.seed,
        report=reporter,
    )
    reporter.finish(ranker.files())

"""Which settings fit best: a search space file as trials on Ray Tune, followed in W&B, resumed when interrupted."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ray import tune
from ray.air.integrations.wandb import WandbLoggerCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from recray.errors import ConfigError, ModelError
from recray.settings import Settings
from recray.training import tracking
from recray.training.space import Domain, Space, encoded, read_space
from recray.training.trial import SearchData, run_trial


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`best` are the settings differences of the best trial, `value` its metric; `trials` one mapping per trial."""

    best: dict[str, Any]
    value: float
    trials: list[dict[str, Any]] = field(default_factory=list)


def run_search(
    space_path: Path, settings: Settings, data: SearchData, *, name: str, environment: Mapping[str, str] = os.environ
) -> SearchResult:
    """Search, and write best.yaml and trials.json to `settings.home`/sweeps/`name`.

    The first trial is the settings as they are, where the space holds them, so that every sweep says what it gains on them.
    A sweep that was interrupted goes on under its name: finished trials count, unfinished and failed ones run again. A sweep
    that is complete answers from what it found. A trial's figure is that of its best epoch, which is the one fits keep.

    Raises:
        ConfigError: the space is not usable, its data is missing, or `name` belongs to a sweep of another space.
        ModelError: no trial succeeded.
        KeyboardInterrupt: the sweep was interrupted; call again to go on.
    """
    space = read_space(space_path)
    _require(space, data)
    folder = (settings.home / "sweeps" / name).resolve()
    _claim(folder, space)
    mode = tracking.mode(environment)
    os.environ["WANDB_MODE"] = mode  # Ray's callback looks for a key unless this very variable says offline
    trainable = tune.with_resources(tune.with_parameters(run_trial, space=space, settings=settings, data=data), {"cpu": 1})
    n_trials = space.n_trials or settings.training.n_trials
    if tune.Tuner.can_restore(str(folder)):
        tuner = tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, resume_errored=True)
    else:
        tuner = _new(trainable, space, settings, folder, mode)
    results = tuner.fit()
    trials = sorted((_row(result, space) for result in results), key=lambda trial: str(trial["trial"]))
    _write(folder / "trials.json", json.dumps(trials, indent=1, sort_keys=True))
    n_finished = sum(trial["state"] == "finished" for trial in trials)
    if len(trials) < n_trials or any(trial["state"] == "unfinished" for trial in trials):
        raise KeyboardInterrupt(f"sweep {name} has {n_finished} of {n_trials} trials; search under the same name to go on")
    if not n_finished:
        raise ModelError(f"none of the {len(trials)} trials of sweep {name} succeeded: {trials[0]['error']}; see {folder}")
    better = max if space.mode == "max" else min
    winner = better((trial for trial in trials if trial["state"] == "finished"), key=lambda trial: trial["value"])
    _write(folder / "best.yaml", yaml.safe_dump(winner["differences"], sort_keys=True))
    return SearchResult(winner["differences"], winner["value"], trials)


def _require(space: Space, data: SearchData) -> None:
    lacking = data.interactions is None if space.model == "sequence" else data.examples_dir is None
    if lacking:
        wanted = "interactions" if space.model == "sequence" else "a folder of examples"
        raise ConfigError(f"a search of {space.model} needs {wanted}; got none: prepare the data first")


def _claim(folder: Path, space: Space) -> None:
    """Bind a sweep's folder to its space: trials of another space must not be counted as its own."""
    declared, path = space.model_dump(mode="json"), folder / "space.json"
    if not path.exists():
        _write(path, json.dumps(declared, indent=1, sort_keys=True))
    elif json.loads(path.read_text()) != declared:
        raise ConfigError(f"sweep {folder.name} was begun with another search space, see {path}; choose another name")


def _new(trainable: Any, space: Space, settings: Settings, folder: Path, mode: tracking.Mode) -> tune.Tuner:
    seed = settings.training.seed
    parameters = {path: _sampler(domain) for path, domain in space.space.items()}
    starting = space.starting(settings)
    first = None if starting is None else [starting]
    searcher = (
        OptunaSearch(seed=seed, points_to_evaluate=first)
        if space.search == "optuna"
        else BasicVariantGenerator(random_state=seed, points_to_evaluate=first)
    )
    callbacks = []
    if mode != "disabled":
        callbacks.append(WandbLoggerCallback(project=tracking.PROJECT, group=folder.name, mode=mode))
    return tune.Tuner(
        trainable,
        param_space=parameters,
        tune_config=tune.TuneConfig(
            metric=space.metric,
            mode=space.mode,
            search_alg=searcher,
            scheduler=_scheduler(space, settings),
            num_samples=space.n_trials or settings.training.n_trials,
            max_concurrent_trials=settings.training.max_concurrent_trials,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(name=folder.name, storage_path=str(folder.parent), callbacks=callbacks, verbose=1),
    )


def _trial_folder(trial: Any) -> str:
    return str(trial.trial_id)


def _scheduler(space: Space, settings: Settings) -> Any:
    if space.scheduler.kind == "fifo":
        return FIFOScheduler()
    n_epochs = {"deep": settings.deep.epochs, "boosted": settings.boosted.n_trees, "sequence": settings.sequence.epochs}
    max_t = space.scheduler.max_t or n_epochs[space.model]
    return ASHAScheduler(
        max_t=max_t,
        grace_period=min(space.scheduler.grace_period, max_t),
        reduction_factor=space.scheduler.reduction_factor,
    )


def _sampler(domain: Domain) -> Any:
    if domain.choice is not None:
        return tune.choice([encoded(choice) for choice in domain.choice])
    if domain.randint is not None:
        return tune.randint(*domain.randint)
    return tune.loguniform(*domain.loguniform) if domain.loguniform else tune.uniform(*(domain.uniform or ()))


def _row(result: tune.Result, space: Space) -> dict[str, Any]:
    """One trial of the table: its settings differences, its state, its best figure and how many epochs it ran."""
    history = result.metrics_dataframe
    found = [] if history is None or space.metric not in history else history[space.metric].dropna().tolist()
    best = max if space.mode == "max" else min
    metrics = result.metrics or {}
    ended = bool(metrics.get("done")) and bool(found)
    return {
        "trial": metrics.get("trial_id"),
        "differences": space.differences(result.config or {}),
        "state": "failed" if result.error else "finished" if ended else "unfinished",
        "value": best(found) if found else None,
        "epochs": len(found),
        "error": None if result.error is None else str(result.error).strip().splitlines()[-1],
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text)
    os.replace(aside, path)

"""What every fit on Ray Train shares: resources, a fresh run, threads, and a model's files as its checkpoint."""

import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
import ray.train
from ray.train import Checkpoint, CheckpointConfig, RunConfig, ScalingConfig, UserCallback

from recray.errors import ModelError
from recray.schema import Longs
from recray.settings import Settings, TrainingSettings

Model = TypeVar("Model")
FITTING: Final = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}}
"""OpenMP threads that spin while they wait made a fit of 4 s take 70 s on two busy cores. oneDNN keeps 1,024 compiled products,
one for each shape that it met; a loss whose last rows are of another number each time filled 200 MB more than 200 of them take.
"""


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Model]):
    """A fitted model, restored from its files, and the figures of its best epoch."""

    model: Model
    metrics: dict[str, float]


def scaling(training: TrainingSettings, n_workers: int) -> ScalingConfig:
    """Workers with the CPUs and GPUs that the settings give them."""
    resources = {"CPU": training.cpus_per_worker} | ({"GPU": 1.0} if training.use_gpu else {})
    return ScalingConfig(num_workers=n_workers, use_gpu=training.use_gpu, resources_per_worker=resources)


def fresh_run(kind: str, settings: Settings, callbacks: Sequence[UserCallback]) -> RunConfig:
    """A run under `settings.home`/runs with a name that was never used: Ray Train resumes a name it knows."""
    return RunConfig(
        name=f"{kind}-{uuid.uuid4().hex[:12]}",
        storage_path=str((settings.home / "runs").resolve()),
        checkpoint_config=CheckpointConfig(num_to_keep=1),
        worker_runtime_env=FITTING,
        callbacks=list(callbacks),
    )


def n_threads(training: TrainingSettings, n_processes: int) -> int:
    """Threads for one of several fitting processes on this machine.

    Whole CPUs of a worker are meant as such; a fraction only tells Ray how many workers fit, and then processes share the
    machine. Ray itself sets OMP_NUM_THREADS to 1 for small counts, which would leave cores idle.
    """
    if training.cpus_per_worker >= 1:
        return int(training.cpus_per_worker)
    return max((os.cpu_count() or 1) // n_processes, 1)


def shard(n: int) -> Longs:
    """Rows of this worker out of n, as many as of any other: workers that step together must step equally often."""
    context = ray.train.get_context()
    rank, n_workers = context.get_world_rank(), context.get_world_size()
    return np.arange(rank, n - n % n_workers, n_workers)


class Reporter:
    """Passes a fit's figures on to Ray Train, every `every`-th epoch on every worker, and remembers the best epoch's.

    A report waits until the controller has looked, which it does every two seconds: too long for one boosting round.
    """

    def __init__(self, metric: str, every: int = 1) -> None:
        self._metric, self._every, self._n = metric, every, 0
        self.best: dict[str, float] = {}

    def __call__(self, figures: dict[str, float]) -> None:
        # A fit without validation reports no metric: then the last epoch is the one that is kept.
        if self._metric not in figures or figures[self._metric] > self.best.get(self._metric, float("-inf")):
            self.best = dict(figures)
        if self._n % self._every == 0:
            ray.train.report(figures)
        self._n += 1

    def finish(self, files: dict[str, bytes]) -> None:
        """Report the best epoch once more, with the model's files as the checkpoint of worker 0."""
        if ray.train.get_context().get_world_rank() != 0:
            ray.train.report(self.best, checkpoint=None)
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            ray.train.report(self.best, checkpoint=Checkpoint.from_directory(folder))


def outcome(result: Any) -> tuple[dict[str, bytes], dict[str, float]]:
    """The model's files and the best epoch's figures of a finished run.

    Raises:
        ModelError: the run ended without a checkpoint.
    """
    if result.checkpoint is None:
        raise ModelError(f"the run in {result.path} ended without a model; see its logs, then train again") from result.error
    with result.checkpoint.as_directory() as folder:
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if not path.name.startswith(".")}
    return files, {name: float(value) for name, value in (result.metrics or {}).items() if isinstance(value, int | float)}

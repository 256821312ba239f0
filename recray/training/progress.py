"""What a fit reports while it runs, brought to whoever started it: an hour without a line looks like a program that hangs."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
import ray
from ray.train import Checkpoint, UserCallback

from recray.training.board import Board

_LOOK_S: Final = 1.0
Say = Callable[[dict[str, float]], None]


class _Posting(UserCallback):
    """Runs beside the controller of a fit, in a process of its own, and passes on what its first worker reports."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:  # the report with the model repeats the best epoch's figures
            self._board.put.remote(metrics[0])


def _give_back() -> None:
    """Return to the system what this process no longer uses, where its C library can: a fit is when memory is needed most.

    Allocators keep it in case: 200 MB after the tables of ml-1m were read, 80 after a bundle was judged.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def fit_aloud(trainer_of: Callable[[list[UserCallback]], Any], say: Say) -> Any:
    """The result of a trainer's fit; `say` hears each report a second later at most.

    `trainer_of` makes the trainer, given the callbacks that its run takes.
    """
    _give_back()
    board = ray.remote(Board).options(num_cpus=0).remote()
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(trainer_of([_Posting(board)]).fit)
        while True:
            ended = fitting.done()
            for figures in ray.get(board.take.remote()):
                say(figures)
            if ended:
                return fitting.result()
            _wait(fitting)


def _wait(fitting: Any) -> None:
    try:
        fitting.exception(timeout=_LOOK_S)
    except TimeoutError:
        return

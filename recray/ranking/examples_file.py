"""Ranker examples as a folder of `.npy` files: how they travel from the point-in-time join to the fitting processes.

NumPy's own format can be mapped into memory, so that a process reads the requests of its batch and nothing else.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recray.errors import DataError
from recray.features.vectorize import RankerInput
from recray.ranking.ranker import Examples

_NAMES = ("user", "match", "items", "history", "labels", "at_s", "weight")


def save(examples: Examples, folder: Path) -> None:
    """Write examples as a folder in one step: readers see the folder complete or not at all; an older one is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    given = examples.inputs
    known = (examples.labels, examples.at_s, examples.weight)
    arrays: tuple[NDArray[Any], ...] = (given.user, given.match, given.items, given.history, *known)
    for name, array in zip(_NAMES, arrays, strict=True):
        np.save(aside / f"{name}.npy", array, allow_pickle=False)
    if folder.exists():
        older = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        os.replace(folder, older / folder.name)
        os.replace(aside, folder)
        shutil.rmtree(older)
    else:
        os.replace(aside, folder)


def load(folder: Path, *, mmap: bool = True) -> Examples:
    """Examples that `save` wrote; with `mmap` the arrays stay on disk until rows are taken.

    Raises:
        DataError: a file is missing or truncated, or the files do not belong together.
    """
    try:
        user, match, items, history, labels, at_s, weight = (
            np.load(folder / f"{name}.npy", mmap_mode="r" if mmap else None, allow_pickle=False) for name in _NAMES
        )
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"examples in {folder} cannot be read: {problem}; make them anew") from problem
    lengths = {len(array) for array in (user, match, items, history, labels, at_s, weight)}
    if len(lengths) != 1 or {match.shape[:2], labels.shape[:2], weight.shape} != {items.shape}:
        raise DataError(f"examples in {folder} have files of {sorted(lengths)} requests; expected one number: make them anew")
    return Examples(RankerInput(user, match, items, history), labels, at_s, weight)

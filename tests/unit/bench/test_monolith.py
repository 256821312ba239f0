"""The peer's network computes what the served ranker computes, so that its speed is that of the same model."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import example_world as world
from recray.bench.monolith import DeepModule
from recray.features.vectorize import item_matrix
from recray.ranking.deep import DeepRanker
from recray.ranking.deep_kernel import Kernel
from recray.schema import NO_ITEM, Objective, Tensors

N_KNOWN, DIM, HIDDEN = 100, 8, (24, 16)


@pytest.fixture
def ranker() -> DeepRanker:
    """A network of random numbers that knows fewer titles than the catalogue has."""
    draws, inputs, items = np.random.default_rng(4), world.examples(1, 1).inputs, world.items()
    n_user, n_match, n_item = inputs.user.shape[1], inputs.match.shape[2], item_width()

    def drawn(*shape: int) -> Any:
        return draws.normal(0, 0.3, shape).astype(np.float32)

    widths = {"user": n_user + DIM, "item": n_item + DIM, "match": n_match + 1}
    sizes = (*HIDDEN, len(Objective))
    tensors: Tensors = {f"first_{part}": drawn(width, HIDDEN[0]) for part, width in widths.items()}
    tensors |= {"embedding": drawn(N_KNOWN, DIM), "attention": drawn(DIM), "decay": np.float32(0.4).reshape(())}
    tensors |= {"first_bias": drawn(HIDDEN[0])}
    for entity, width in (("user", n_user), ("item", n_item), ("match", n_match)):
        tensors |= {f"{entity}_mean": drawn(width), f"{entity}_scale": np.abs(drawn(width)) + np.float32(0.2)}
    for n, (into, out) in enumerate(pairwise(sizes)):
        tensors |= {f"weight_{n}": drawn(into, out), f"bias_{n}": drawn(out)}
    return DeepRanker(tensors, Kernel.of(tensors, items, "float32"))


def item_width() -> int:
    return int(item_matrix(world.items()).shape[1])


def test_module_is_the_served_network(ranker: DeepRanker) -> None:
    torch.set_num_threads(1)
    inputs = world.examples(9, 5).inputs
    inputs.history[3] = NO_ITEM
    inputs.user[4] *= 1_000  # beyond what was seen: cut in both
    module = DeepModule(ranker.tensors, ranker.kernel.embedding, world.items()).eval()
    wanted = ranker.predict(inputs)
    for row in range(9):
        known = inputs.items[row] >= 0
        given = (inputs.user[row], inputs.match[row, known], inputs.items[row, known].astype(np.int64),
                 inputs.history[row].astype(np.int64))  # fmt: skip
        with torch.inference_mode():
            got = module(*map(torch.from_numpy, given)).numpy()
        np.testing.assert_allclose(got, wanted[row, known], atol=1e-5)
    assert wanted.std() > 0.05

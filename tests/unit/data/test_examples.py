"""Examples as they are gathered from Ray Data's blocks."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from recray.data.examples import collect
from recray.schema import NO_ITEM

N_HISTORY = 3


class Blocks:
    """Stands for a data set of which only the blocks matter."""

    def __init__(self, *blocks: dict[str, npt.NDArray[np.generic]]) -> None:
        self.blocks = blocks

    def iter_batches(self, *, batch_size: None, batch_format: str) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
        return iter(self.blocks)


def block(*widths: int, at_s: int) -> dict[str, npt.NDArray[np.generic]]:
    """A request per width, of a title per candidate; unequal widths come as Ray Data gives them, as objects."""

    def ragged(rows: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
        column = np.empty(len(rows), object)
        column[:] = rows
        return column

    n = len(widths)
    return {
        "draw": np.array(["train", "validation"] * n, object)[:n],
        "at_s": np.arange(at_s, at_s + n),
        "user": np.ones((n, 2), np.float32),
        "match": ragged([np.ones((width, 2), np.float32) for width in widths]),
        "items": ragged([np.arange(width, dtype=np.int32) for width in widths]),
        "history": np.zeros((n, N_HISTORY), np.int32),
        "labels": ragged([np.zeros((width, 3), np.float32) for width in widths]),
        "weight": ragged([np.full(width, 2, np.float32) for width in widths]),
    }


def test_requests_of_unequal_width_in_one_block_are_padded_side_by_side_in_order_of_time() -> None:
    found = collect(Blocks(block(4, 5, 2, at_s=100), block(3, at_s=50)), ("train", "validation"))  # type: ignore[arg-type]
    train = found["train"]
    assert train.at_s.tolist() == [50, 100, 102]
    assert train.inputs.items.tolist() == [[0, 1, 2, NO_ITEM], [0, 1, 2, 3], [0, 1, NO_ITEM, NO_ITEM]]
    assert train.inputs.match.sum(axis=(1, 2)).tolist() == [6, 8, 4]
    assert np.isnan(train.labels[2, 2:]).all()
    assert not np.isnan(train.labels[2, :2]).any()
    assert train.weight.tolist() == [[2, 2, 2, 1], [2, 2, 2, 2], [2, 2, 1, 1]]
    assert found["validation"].inputs.items.tolist() == [[0, 1, 2, 3, 4]]

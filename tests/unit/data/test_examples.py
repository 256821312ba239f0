"""Examples as they are gathered from Ray Data's blocks."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from recray.data.examination import ORGANIC, Examination
from recray.data.examples import collect, start_weights
from recray.data.replay import Draw, moments
from recray.features import fold
from recray.schema import NO_ITEM, Action, ProfileKey

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


def test_a_start_weighs_by_the_place_that_began_it() -> None:
    """Title 3 is played from position 1 and finished from nowhere; title 5 has come from no slate; title 8 was not started."""
    action = np.array([Action.PLAY, Action.COMPLETE, Action.PLAY], np.int32)
    words = fold.pack(np.array([100, 110, 120]), np.array([3, 3, 5]), action, np.ones(3, int), np.zeros(3, int))
    places = np.array([[0, 1], [ORGANIC, ORGANIC], [ORGANIC, ORGANIC]], np.int32)
    (moment,) = moments(ProfileKey("ann", "main"), words, Draw(0, 105, 5, 1.0, 9, 1), places)
    assert moment.places.tolist() == [[0, 1], [ORGANIC, ORGANIC]]
    items = np.array([[8, 5, 3, NO_ITEM]], np.int32)
    assert start_weights([moment], items, Examination((1.0, 0.5)), 10.0).tolist() == [[1, 1, 2, 1]]
    (plain,) = moments(ProfileKey("ann", "main"), words, Draw(0, 105, 5, 1.0, 9, 1))
    assert start_weights([plain], items, Examination((1.0, 0.5)), 10.0).tolist() == [[1, 1, 1, 1]]

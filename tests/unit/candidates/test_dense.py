import numpy as np
import pytest

from recray.candidates.dense import TILE, DenseTable
from recray.candidates.source import best


@pytest.mark.parametrize(("n", "dim", "k"), [(1, 3, 5), (TILE, 4, 10), (3 * TILE + 7, 10, 40), (1_000, 64, 1_000)])
def test_finds_what_a_full_matrix_of_scores_holds_best(n: int, dim: int, k: int) -> None:
    rng = np.random.default_rng(n)
    table = rng.integers(-3, 4, (n, dim)).astype(np.float32)  # small integers: sums are exact, and ties abound
    vectors = rng.integers(-3, 4, (9, dim)).astype(np.float32)
    offset = rng.integers(-2, 3, n).astype(np.float32)
    offset[rng.random(n) < 0.1] = -np.inf
    eligible = rng.random((9, n)) < 0.7
    asked = np.arange(9) != 4
    found = DenseTable(table, offset).best(vectors, asked, eligible, k)
    scores = vectors @ table.T + offset
    scores[4] = -np.inf
    wanted = best(scores, eligible, k)
    width = found.items.shape[1]
    np.testing.assert_array_equal(found.items, wanted.items[:, :width])
    np.testing.assert_array_equal(found.scores, wanted.scores[:, :width])
    assert (wanted.items[:, width:] < 0).all()


def test_scores_are_bit_for_bit_the_same_in_any_batch() -> None:
    rng = np.random.default_rng(0)
    table = DenseTable(rng.standard_normal((501, 48)).astype(np.float32))
    vectors = rng.standard_normal((19, 48)).astype(np.float32)
    eligible, asked = np.ones((19, 501), np.bool_), np.ones(19, np.bool_)
    together = table.best(vectors, asked, eligible, 50)
    for row in range(19):
        one = slice(row, row + 1)
        alone = table.best(vectors[one], asked[one], eligible[one], 50)
        np.testing.assert_array_equal(alone.items[0], together.items[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_a_catalogue_that_grew_proposes_only_titles_it_has_vectors_for() -> None:
    table = DenseTable(np.ones((3, 2), np.float32))
    found = table.best(np.ones((1, 2), np.float32), np.ones(1, np.bool_), np.ones((1, 5), np.bool_), 5)
    assert found.items.tolist() == [[0, 1, 2]]
    found = table.best(np.ones((1, 2), np.float32), np.ones(1, np.bool_), np.ones((1, 2), np.bool_), 5)
    assert found.items.tolist() == [[0, 1]]
    assert table.best(np.ones((1, 2), np.float32), np.ones(1, np.bool_), np.ones((1, 0), np.bool_), 5).items.shape == (1, 0)

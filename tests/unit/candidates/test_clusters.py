import numpy as np
import pytest

from recray.candidates import clusters
from recray.candidates.clusters import ClusteredTable, alike, table_of
from recray.candidates.dense import TILE, DenseTable
from recray.schema import Bools, Floats


def groups(n: int, dim: int, n_groups: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((n_groups, dim))
    return (middle[rng.integers(0, n_groups, n)] + 0.5 * rng.standard_normal((n, dim))).astype(np.float32)


def everything(n_requests: int, n: int) -> tuple[Bools, Bools]:
    return np.ones(n_requests, np.bool_), np.ones((n_requests, n), np.bool_)


@pytest.mark.parametrize("n", [1, TILE, 3 * TILE + 7, 1_000])
def test_where_every_tile_is_looked_into_it_finds_what_the_exact_table_finds(n: int) -> None:
    rng = np.random.default_rng(n)
    table, vectors = groups(n, 10, 5), groups(9, 10, 5, seed=1)
    offset = rng.standard_normal(n).astype(np.float32)
    offset[rng.random(n) < 0.1] = -np.inf
    asked, eligible = np.arange(9) != 4, rng.random((9, n)) < 0.7
    wanted = DenseTable(table, offset).best(vectors, asked, eligible, 40)
    found = ClusteredTable(table, offset, examined=n).best(vectors, asked, eligible, 40)
    np.testing.assert_array_equal(found.items, wanted.items)
    np.testing.assert_array_equal(found.scores, wanted.scores)


def test_an_eighth_of_the_titles_holds_nearly_all_of_the_best() -> None:
    table = groups(20_000, 32, 60)
    vectors = table[:200].reshape(50, 4, 32).sum(axis=1)  # a viewer's taste is made of titles
    about = everything(50, 20_000)
    wanted = DenseTable(table).best(vectors, *about, 100).items
    found = ClusteredTable(table, examined=2_500).best(vectors, *about, 100).items
    recall = np.mean([np.isin(w, f).mean() for w, f in zip(wanted, found, strict=True)])
    assert recall > 0.95


def test_what_filters_leave_is_looked_for_further_down() -> None:
    table, vectors = groups(20_000, 16, 40), groups(5, 16, 40, seed=1)
    eligible = np.random.default_rng(2).random((5, 20_000)) < 0.01
    asked = np.ones(5, np.bool_)
    wanted = DenseTable(table).best(vectors, asked, eligible, 20).items
    found = ClusteredTable(table, examined=5_000).best(vectors, asked, eligible, 20).items
    np.testing.assert_array_equal(found, wanted)


def test_answers_are_bit_for_bit_the_same_in_any_batch() -> None:
    table, vectors = ClusteredTable(groups(5_000, 24, 20), examined=1_000), groups(11, 24, 20, seed=1)
    together = table.best(vectors, *everything(11, 5_000), 50)
    for row in range(11):
        alone = table.best(vectors[row : row + 1], *everything(1, 5_000), 50)
        np.testing.assert_array_equal(alone.items[0], together.items[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_neighbours_in_the_order_are_alike() -> None:
    vectors = groups(4 * TILE, 8, 4)
    ordered = vectors[alike(vectors)].reshape(4, TILE, 8)
    assert ordered.var(axis=1).sum() < 0.5 * vectors.var(axis=0).sum() * 4


def test_equal_vectors_and_none_at_all_have_an_order() -> None:
    assert sorted(alike(np.ones((300, 3), np.float32)).tolist()) == list(range(300))
    assert alike(np.ones((0, 3), np.float32)).size == 0
    nobody = ClusteredTable(np.ones((3, 2), np.float32), np.full(3, -np.inf, np.float32))
    assert nobody.best(np.ones((1, 2), np.float32), *everything(1, 3), 5).items.shape == (1, 0)


def test_a_small_catalogue_is_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(table_of(np.ones((200, 2), np.float32)), DenseTable)
    monkeypatch.setattr(clusters, "EXACT", 100)
    assert isinstance(table_of(np.ones((200, 2), np.float32)), ClusteredTable)

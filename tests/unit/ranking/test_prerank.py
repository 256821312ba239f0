"""The first pass: what it keeps, in which order, how near it comes to its ranker, and what it refuses to be read from."""

from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import save

from example_world import examples, items
from recray.errors import ModelError
from recray.features.vectorize import RankerInput
from recray.features.views import width
from recray.ranking.prerank import Prerank, distil
from recray.schema import Objective

ITEMS = items()


class Planted:
    """A ranker whose logits are linear in the match features, and bent a little."""

    name: ClassVar[str] = "planted"

    def __init__(self, bend: float = 0.0) -> None:
        self._weights = np.random.default_rng(3).normal(size=width("match")).astype(np.float32)
        self._bend = bend

    def predict(self, batch: RankerInput) -> Any:
        logit = (batch.match * self._weights).sum(axis=2) - 3 + self._bend * np.sin(5 * batch.match[:, :, 0])
        p = np.zeros((*batch.items.shape, len(Objective)), np.float32)
        p[:, :, Objective.START] = np.where(batch.items >= 0, 1 / (1 + np.exp(-logit)), 0)
        return p


def first(batch: RankerInput, ranker: Any, k: int) -> list[set[int]]:
    score = np.where(batch.items >= 0, ranker.predict(batch)[:, :, Objective.START], -1)
    return [set(row[:k].tolist()) for row in np.argsort(-score, axis=1, kind="stable")]


def test_of_a_linear_ranker_the_very_first_candidates_are_kept() -> None:
    ranker, batch = Planted(), examples(200, 1).inputs
    kept = distil(batch, ranker, ITEMS).places(examples(50, 2).inputs, np.full(50, 5))
    assert [set(row.tolist()) for row in kept] == first(examples(50, 2).inputs, ranker, 5)


def test_twice_as_many_hold_nearly_all_of_the_first_of_a_bent_one() -> None:
    ranker, there = Planted(bend=0.5), examples(100, 2).inputs
    kept = distil(examples(200, 1).inputs, ranker, ITEMS).places(there, np.full(100, 10))
    shared = [len(best & set(row.tolist())) / 5 for best, row in zip(first(there, ranker, 5), kept, strict=True)]
    assert np.mean(shared) > 0.95


def test_places_keep_their_order_and_a_request_that_wants_all_keeps_all_without_padding() -> None:
    batch = examples(6, 4).inputs
    prerank = distil(batch, Planted(), ITEMS)
    kept = prerank.places(batch, np.array([3, 100, 0, 5, 100, 1]))
    assert kept.shape == (6, 24)
    for row, n in enumerate([3, 100, 0, 5, 100, 1]):
        own = kept[row][kept[row] >= 0]
        assert own.size == min(n, np.count_nonzero(batch.items[row] >= 0))
        assert (np.diff(own) > 0).all()
    assert (np.sort(kept[1])[-20:] >= 0).all()


def test_of_equal_candidates_the_earlier_are_kept() -> None:
    batch = examples(1, 5).inputs.take(np.array([0]))
    even = Prerank.of(np.zeros(width("match")), np.zeros(width("item")), ITEMS)
    assert even.places(batch, np.array([4])).tolist() == [[0, 1, 2, 3]]


def test_the_best_stay_and_what_they_lack_of_the_genres_that_are_wanted() -> None:
    batch = examples(40, 9).inputs
    prerank = distil(batch, Planted(bend=1.0), ITEMS)
    wanted = np.random.default_rng(1).exponential(0.4, (40, ITEMS.genre_shares.shape[1])).astype(np.float32)
    wanted[0] = 0
    kept = prerank.places(batch, np.full(40, 4), (ITEMS.genre_shares, wanted))
    n_more = 0
    for row in range(40):
        best: list[int] = []
        for n in range(1, 25):  # places best first, by what one more lets in
            own = prerank.places(batch.take(np.array([row])), np.array([n]))[0]
            best += [int(place) for place in own if place >= 0 and place not in best]
        left, stay = wanted[row].copy(), []
        for place in best:
            own_shares = ITEMS.genre_shares[batch.items[row, place]]
            if len(stay) < 4 or (((own_shares > 0) & (left > 0)).any() and len(stay) < 4 + np.ceil(wanted[row].sum())):
                stay.append(place)
                left -= own_shares
        assert kept[row][kept[row] >= 0].tolist() == sorted(stay)
        n_more += len(stay) - 4
    assert n_more > 20
    assert (kept >= 0).any(axis=0).all()
    assert np.count_nonzero(kept[0] >= 0) == 4


def test_a_request_keeps_the_same_alone_and_in_a_batch() -> None:
    batch = examples(20, 6).inputs
    prerank = distil(batch, Planted(bend=1.0), ITEMS)
    n = np.arange(20) % 7
    together = prerank.places(batch, n)
    for row in range(20):
        alone = prerank.places(batch.take(np.array([row])), n[[row]])[0]
        assert alone[alone >= 0].tolist() == together[row][together[row] >= 0].tolist()


def test_a_batch_at_these_places_holds_them_and_padding() -> None:
    batch = examples(2, 7).inputs
    cut = batch.at(np.array([[2, 0], [5, -1]], np.int32))
    assert cut.items.tolist() == [[batch.items[0, 2], batch.items[0, 0]], [batch.items[1, 5], -1]]
    np.testing.assert_array_equal(cut.match[0, 1], batch.match[0, 0])
    assert not cut.match[1, 1].any()
    assert (cut.user is batch.user, cut.history is batch.history) == (True, True)


def test_what_was_saved_keeps_the_same() -> None:
    batch = examples(30, 8).inputs
    prerank = distil(batch, Planted(), ITEMS)
    again = Prerank.restore(prerank.file(), ITEMS)
    np.testing.assert_array_equal(again.places(batch, np.full(30, 6)), prerank.places(batch, np.full(30, 6)))


@pytest.mark.parametrize("content", [b"", b"nonsense", save({"match": np.zeros(3, np.float32)})])
def test_what_cannot_be_read_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Prerank.restore(content, ITEMS)


def test_one_of_other_features_is_refused() -> None:
    other = save({"match": np.zeros(3, np.float32), "title": np.zeros(width("item"), np.float32)})
    with pytest.raises(ModelError, match="made for 3 match"):
        Prerank.restore(other, ITEMS)

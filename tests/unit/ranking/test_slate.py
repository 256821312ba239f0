"""Laws of the slate: who is shown, in which order, with which propensity."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import example_world as world
from recray.errors import ConfigError
from recray.ranking.slate import objective_weights, slate, weigh
from recray.schema import NO_ITEM, Objective
from recray.settings import SlateSettings

ITEMS = world.items()


def _batch(seed: int, n_requests: int, n_candidates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    numbers = np.stack([draws.permutation(ITEMS.n)[:n_candidates] for _ in range(n_requests)]).astype(np.int32)
    numbers[np.arange(n_candidates) >= draws.integers(0, n_candidates + 1, n_requests)[:, None]] = NO_ITEM
    scores = np.round(draws.normal(size=numbers.shape), 1).astype(np.float32)
    return (
        np.where(numbers >= 0, scores, -np.inf).astype(np.float32),
        numbers,
        draws.integers(0, 12, n_requests).astype(np.int32),
    )


def _keys(n: int) -> list[str]:
    return [f"request-{i}" for i in range(n)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_requests=st.integers(1, 5),
    n_candidates=st.integers(1, 30),
    diversity=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    exploration=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_slate_is_a_permutation_of_a_subset_with_propensities(
    seed: int, n_requests: int, n_candidates: int, diversity: float, exploration: float
) -> None:
    scores, numbers, n = _batch(seed, n_requests, n_candidates)
    got = slate(
        scores,
        numbers,
        ITEMS,
        n,
        SlateSettings(diversity=diversity, diversity_by="mmr", exploration=exploration),
        _keys(n_requests),
    )
    assert got.positions.shape == got.propensity.shape == (n_requests, n.max())
    assert got.positions.dtype == np.int32
    assert got.propensity.dtype == np.float32
    assert np.all((got.propensity > 0) & (got.propensity <= 1))
    for row in range(n_requests):
        n_shown = min(n[row], (numbers[row] >= 0).sum())
        shown = got.positions[row, :n_shown]
        assert np.all(got.positions[row, n_shown:] == -1)
        assert len(set(shown.tolist())) == n_shown
        assert np.all(numbers[row, shown] != NO_ITEM)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_candidates=st.integers(1, 30))
def test_without_diversity_the_slate_is_the_sorted_order_with_ties_by_lower_title(seed: int, n_candidates: int) -> None:
    scores, numbers, n = _batch(seed, 3, n_candidates)
    got = slate(scores, numbers, ITEMS, n, SlateSettings(diversity=0, exploration=0), _keys(3))
    for row in range(3):
        valid = [k for k in range(n_candidates) if numbers[row, k] >= 0]
        wanted = sorted(valid, key=lambda k: (-scores[row, k], numbers[row, k]))[: n[row]]
        assert got.positions[row][got.positions[row] >= 0].tolist() == wanted
    assert np.all(got.propensity == 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), diversity=st.sampled_from([0.0, 0.3]), exploration=st.sampled_from([0.0, 0.4]))
def test_batch_gives_what_its_requests_give_one_by_one(seed: int, diversity: float, exploration: float) -> None:
    scores, numbers, n = _batch(seed, 4, 40)
    chosen = SlateSettings(diversity=diversity, diversity_by="mmr", exploration=exploration)
    together = slate(scores, numbers, ITEMS, n, chosen, _keys(4))
    for row in range(4):
        one = slice(row, row + 1)
        alone = slate(scores[one], numbers[one], ITEMS, n[one], chosen, _keys(4)[one])
        np.testing.assert_array_equal(together.positions[one, : n[row]], alone.positions)
        np.testing.assert_array_equal(together.propensity[one, : n[row]], alone.propensity)


def test_diversity_takes_greedily_what_is_good_and_unlike_what_was_taken() -> None:
    scores, numbers, _ = _batch(8, 1, 30)
    weight, n = 0.4, 6
    got = slate(scores, numbers, ITEMS, np.array([n], np.int32), SlateSettings(diversity=weight, diversity_by="mmr"), _keys(1))
    valid = sorted((k for k in range(30) if numbers[0, k] >= 0), key=lambda k: (-scores[0, k], numbers[0, k]))[: 3 * n]
    worth = {k: (scores[0, k] - scores[0, valid[-1]]) / (scores[0, valid[0]] - scores[0, valid[-1]]) for k in valid}
    chosen: list[int] = []
    while len(chosen) < n:
        vectors = ITEMS.content[numbers[0, chosen]]

        def gain(k: int, vectors: np.ndarray = vectors) -> float:
            alike = float((vectors @ ITEMS.content[numbers[0, k]]).max()) if len(vectors) else 0.0
            return (1 - weight) * worth[k] - weight * alike

        chosen.append(max((k for k in valid if k not in chosen), key=gain))
    assert got.positions[0].tolist() == chosen
    plain = slate(scores, numbers, ITEMS, np.array([n], np.int32), SlateSettings(diversity=0), _keys(1))
    assert plain.positions[0].tolist() != chosen


def test_same_request_gets_the_same_answer_again_and_another_request_another() -> None:
    scores, numbers, n = np.zeros((1, 40), np.float32), np.arange(40, dtype=np.int32)[None], np.array([20], np.int32)
    chosen = SlateSettings(diversity=0, exploration=0.5)
    first = slate(scores, numbers, ITEMS, n, chosen, ["a"])
    np.testing.assert_array_equal(first.positions, slate(scores, numbers, ITEMS, n, chosen, ["a"]).positions)
    assert not np.array_equal(first.positions, slate(scores, numbers, ITEMS, n, chosen, ["b"]).positions)


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_propensity_is_the_frequency_of_title_and_position(epsilon: float) -> None:
    n_draws, n_candidates, n = 20_000, 5, 4
    scores = np.tile(-np.arange(n_candidates, dtype=np.float32), (n_draws, 1))
    numbers = np.tile(np.arange(n_candidates, dtype=np.int32), (n_draws, 1))
    chosen = SlateSettings(diversity=0, exploration=epsilon)
    got = slate(scores, numbers, ITEMS, np.full(n_draws, n, np.int32), chosen, _keys(n_draws))
    for position in range(n):
        stated = {}
        for title in range(n_candidates):
            shown = got.positions[:, position] == title
            if shown.any():
                said = np.unique(got.propensity[shown, position])
                assert said.size == 1
                stated[title] = float(said[0])
                assert shown.mean() == pytest.approx(stated[title], abs=0.015)
        assert sum(stated.values()) == pytest.approx(1, abs=1e-5)


def test_inverse_propensities_estimate_another_order_without_bias() -> None:
    n_draws, wanted = 30_000, 2  # how often would title 2 be chosen at position 0, had it always been there
    scores = np.tile(np.array([5, 4, 3, 2], np.float32), (n_draws, 1))
    numbers = np.tile(np.arange(4, dtype=np.int32), (n_draws, 1))
    got = slate(
        scores, numbers, ITEMS, np.full(n_draws, 2, np.int32), SlateSettings(diversity=0, exploration=0.5), _keys(n_draws)
    )
    taste = np.array([0.1, 0.5, 0.8, 0.3])
    reward = np.random.default_rng(0).random(n_draws) < taste[got.positions[:, 0]]
    estimate = np.mean(reward * (got.positions[:, 0] == wanted) / got.propensity[:, 0])
    assert estimate == pytest.approx(taste[wanted], abs=0.05)


def test_scores_are_expected_worth_of_a_start_and_what_follows_times_priority() -> None:
    items = world.items()
    items.priority[:] = 1
    items.priority[7], items.priority[8] = 2, 2
    p = np.array([[[0.5, 0.4, 0.1, 0.9], [0.5, 0.4, 0.1, 0.1], [0.5, 0.0, 1.0, 0.2], [0.9, 0.9, 0.0, 0.3]]], np.float32)
    numbers = np.array([[3, 7, 8, NO_ITEM]], np.int32)
    chosen = SlateSettings(weights={"start": 1.0, "completion": 0.5, "dislike": -3.0})
    got = weigh(p, items, numbers, chosen)
    # 0.5 (1 + 0.5 * 0.4 - 3 * 0.1), the same of twice the priority, and 0.5 (1 - 3) at half the harm
    np.testing.assert_allclose(got, [[0.45, 0.9, -0.5, -np.inf]], rtol=1e-6)
    assert got.dtype == np.float32


def test_watch_time_counts_by_the_hours_expected() -> None:
    duration = np.full(ITEMS.n, 7_200, np.float32)
    duration[4], duration[5] = 3_600, np.nan
    items = dataclasses.replace(world.items(), priority=np.ones(ITEMS.n, np.float32), duration_s=duration)
    p = np.tile(np.array([0.5, 0.0, 0.0, 0.8], np.float32), (1, 3, 1))
    got = weigh(p, items, np.array([[3, 4, 5]], np.int32), SlateSettings(weights={"start": 1.0, "watch_time": 0.5}))
    np.testing.assert_allclose(got, [[0.9, 0.7, 0.9]], rtol=1e-6)  # an unknown running time is taken for the median
    nothing_known = dataclasses.replace(items, duration_s=np.full(ITEMS.n, np.nan, np.float32))
    np.testing.assert_array_equal(nothing_known.hours, 1)


def test_what_nobody_would_start_is_worth_nothing_however_well_it_would_end() -> None:
    p = np.array([[[0.0, 1.0, 0.0, 1.0], [0.01, 0.1, 0.0, 0.5]]], np.float32)
    got = weigh(p, world.items(), np.array([[3, 4]], np.int32), SlateSettings(weights={"completion": 1.0}))
    assert got[0, 0] == 0 < got[0, 1]


def test_weight_of_an_unknown_objective_is_refused() -> None:
    message = "slate.weights names clicks; expected some of start, completion, dislike, watch_time"
    with pytest.raises(ConfigError, match=re.escape(message)):
        objective_weights(SlateSettings(weights={"clicks": 1.0}))
    assert objective_weights(SlateSettings(weights={"dislike": -1.0})).tolist() == [0, 0, -1, 0]
    assert len(objective_weights(SlateSettings())) == len(Objective)

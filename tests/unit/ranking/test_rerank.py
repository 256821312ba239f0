"""Greedy reranking against the same greedy steps written out with whole matrices and whole distributions."""

import dataclasses

import numpy as np
import pytest

import example_world as world
from recray.evaluation.beyond import genre_shares, intra_list_diversity, miscalibration
from recray.features.items import Items
from recray.ranking.slate import slate
from recray.schema import NO_ITEM
from recray.settings import SlateSettings

ITEMS = world.items()
MIXED = dataclasses.replace(ITEMS, genres=np.random.default_rng(7).random(ITEMS.genres.shape) < 0.4)
"""The same titles with several genres each: where each has one, the greedy list is the best and nothing is exchanged."""
N = 6
METHODS = ("mmr", "dpp", "calibration")


def batch(seed: int, n_requests: int = 3, n_candidates: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    numbers = np.stack([draws.permutation(ITEMS.n)[:n_candidates] for _ in range(n_requests)]).astype(np.int32)
    history = draws.integers(0, ITEMS.n, (n_requests, 12)).astype(np.int32)
    history[:, 9:] = NO_ITEM
    return draws.normal(size=numbers.shape).astype(np.float32), numbers, history


def shown(
    method: str, weight: float, scores: np.ndarray, numbers: np.ndarray, history: np.ndarray | None, items: Items = ITEMS
) -> np.ndarray:
    settings = SlateSettings(diversity=weight, diversity_by=method)  # type: ignore[arg-type]  # one of METHODS
    n = np.full(len(scores), N, np.int32)
    mix = None if history is None else genre_shares(history, items.genres).astype(np.float32)
    got = slate(scores, numbers, items, n, settings, [""] * len(scores), mix=mix)
    return np.take_along_axis(numbers, got.positions.astype(np.int64), axis=1)


def test_dpp_adds_most_to_the_log_determinant_at_every_step() -> None:
    weight = 0.3
    for seed in range(8):
        scores, numbers, _ = batch(seed, 1)
        order = sorted(range(30), key=lambda k: (-scores[0, k], numbers[0, k]))[: 3 * N]
        scaled = (scores[0, order] - scores[0, order[-1]]) / (scores[0, order[0]] - scores[0, order[-1]])
        quality = np.exp((1 - weight) / (2 * weight) * scaled.astype(np.float64))
        vectors = ITEMS.content[numbers[0, order]].astype(np.float64)
        kernel = quality[:, None] * (vectors @ vectors.T) * quality[None, :]
        chosen: list[int] = []
        for _ in range(min(N, np.linalg.matrix_rank(kernel))):
            free = [k for k in range(len(order)) if k not in chosen]
            chosen.append(max(free, key=lambda k: np.linalg.slogdet(kernel[np.ix_([*chosen, k], [*chosen, k])])[1]))
        got = shown("dpp", weight, scores, numbers, None)[0].tolist()
        assert set(numbers[0, order][chosen].tolist()) <= set(got)
        assert got == sorted(got, key=lambda title: -scores[0, numbers[0] == title][0])


def test_calibration_takes_what_brings_the_genres_nearest_to_those_watched_and_exchanges_until_nothing_gains() -> None:
    weight, exchanged = 0.6, 0
    for seed in range(30):
        scores, numbers, history = batch(seed, 1)
        watched = genre_shares(history, MIXED.genres)
        order = sorted(range(30), key=lambda k: (-scores[0, k], numbers[0, k]))
        part = (scores[0, order] - scores[0, order[-1]]) / (scores[0, order[0]] - scores[0, order[-1]])

        def worth(chosen: list[int], order=order, numbers=numbers, watched=watched, part=part) -> float:
            shown = MIXED.genre_shares[numbers[0, order][chosen]].sum(axis=0, keepdims=True) / N
            return float((1 - weight) * (part[chosen] ** 1.5).sum() - weight * miscalibration(watched, shown.astype(float))[0])

        chosen: list[int] = []
        for _ in range(N):
            chosen.append(max((k for k in range(30) if k not in chosen), key=lambda k: worth([*chosen, k])))
        for _ in range(N):
            others = [[*(c for c in chosen if c != out), k] for out in chosen for k in range(30) if k not in chosen]
            best = max(others, key=worth)
            if worth(best) < worth(chosen) + 1e-5:
                break
            chosen, exchanged = best, exchanged + 1
        got = shown("calibration", weight, scores, numbers, history, MIXED)[0]
        assert got.tolist() == numbers[0, order][sorted(chosen)].tolist()
    assert exchanged


def test_more_weight_buys_more_of_what_each_method_is_for() -> None:
    scores, numbers, history = batch(3, 40)
    watched = genre_shares(history, ITEMS.genres)
    for method in ("mmr", "dpp"):
        apart = [intra_list_diversity(shown(method, w, scores, numbers, history), ITEMS.content).mean() for w in (0.05, 0.5)]
        assert apart[1] > apart[0], method
    off = [
        miscalibration(watched, genre_shares(shown("calibration", w, scores, numbers, history), ITEMS.genres)).mean()
        for w in (0.05, 0.5)
    ]
    assert off[1] < off[0]


def test_without_a_history_calibration_keeps_the_order_of_scores() -> None:
    scores, numbers, _ = batch(5)
    plain = shown("mmr", 0.0, scores, numbers, None)
    nothing = np.full((3, 4), NO_ITEM, np.int32)
    np.testing.assert_array_equal(shown("calibration", 0.9, scores, numbers, None), plain)
    np.testing.assert_array_equal(shown("calibration", 0.9, scores, numbers, nothing), plain)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_requests_give_alone(method: str) -> None:
    scores, numbers, history = batch(11, 5)
    together = shown(method, 0.4, scores, numbers, history)
    for row in range(5):
        at = slice(row, row + 1)
        np.testing.assert_array_equal(together[at], shown(method, 0.4, scores[at], numbers[at], history[at]))

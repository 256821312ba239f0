"""Sources that read a history: what each one's numbers mean, by small worlds worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from recray.candidates import content, cowatch, ease, factors, item_based, neighbours
from recray.candidates.factors import FoldIn
from recray.candidates.history import evidence, first_of_each, last_of_each, newest, recency
from recray.candidates.resume import Resume
from recray.candidates.similar import SimilarTitles
from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.items import Items
from recray.features.profiles import columns
from recray.schema import NO_ITEM, Action, Page, ProfileSettings
from recray.settings import SourceSettings
from worlds import AS_OF_S, ask_for, interactions_of, make_items, make_world

CONFIG = SourceSettings(factors=8, als_iterations=5)


@pytest.fixture
def items() -> Items:
    made = make_items(np.zeros(10, np.int32), np.random.default_rng(0))
    return replace(made, region_names=())


def table(rows: dict[int, dict[int, float]], history: int = 50, half_life: float = 1.0) -> SimilarTitles:
    neighbours_ = np.full((10, 3), NO_ITEM, np.int32)
    weights = np.zeros((10, 3), np.float32)
    for title, beside in rows.items():
        neighbours_[title, : len(beside)] = list(beside)
        weights[title, : len(beside)] = list(beside.values())
    return SimilarTitles(np.arange(10, dtype=np.int32), neighbours_, weights, history, half_life)


def test_similar_titles_sum_discounted_neighbours_and_name_the_strongest_as_seed(items: Items) -> None:
    source = table({0: {5: 1.0, 6: 0.2}, 1: {5: 0.8, 7: 0.3}})
    got = source.retrieve(ask_for(items, [[0, 1]]), 5)
    assert got.items.tolist() == [[5, 7, 6]]
    np.testing.assert_allclose(got.scores[0, :3], [0.8 + 0.5, 0.3, 0.1], rtol=1e-6)
    assert got.seeds.tolist() == [[1, 1, 0]]


def test_titles_without_neighbours_take_no_rows_and_answer_nothing(items: Items) -> None:
    beside, given = np.array([[5, 6], [7, NO_ITEM]], np.int32), np.array([[1.0, 0.2], [0.6, 0.0]], np.float32)
    source = SimilarTitles(np.array([2, 6], np.int32), beside, given, 50, 1.0)
    found = source.retrieve(ask_for(items, [[6, 3, 2], [3, 9], [2, 6]]), 3)
    assert found.items.tolist() == [[5, 7], [NO_ITEM] * 2, [7, 5]]
    assert found.seeds.tolist() == [[2, 6], [NO_ITEM] * 2, [6, 2]]


def test_of_equal_contributions_the_newer_title_is_the_seed(items: Items) -> None:
    got = table({0: {5: 1.0}, 1: {5: 0.5}}).retrieve(ask_for(items, [[0, 1]]), 1)
    assert got.seeds.tolist() == [[1]]


def test_after_a_title_only_that_title_counts(items: Items) -> None:
    source = table({0: {5: 1.0}, 1: {7: 0.5}})
    ask = ask_for(items, [[0], [0]], Page.POST_WATCH, seed_item=np.array([1, NO_ITEM], np.int32))
    got = source.retrieve(ask, 1)
    assert got.items.tolist() == [[7], [5]]
    assert got.scores.tolist() == [[0.5], [1.0]]
    assert got.seeds.tolist() == [[1], [0]]
    assert evidence(ask, 2, n_titles=1).tolist() == [[NO_ITEM, NO_ITEM], [0, NO_ITEM]]


def test_history_is_newest_first_without_titles_nobody_knows(items: Items) -> None:
    history = newest(ask_for(items, [[3, 4, 3, 99]]), 3, n_titles=10)
    assert history.tolist() == [[NO_ITEM, 3, 4]]
    assert recency(history, 1.0).tolist() == [[0.0, 0.5, 0.25]]


def test_first_and_last_watch_of_each_pair_are_found() -> None:
    seen = interactions_of([[1, 2, 1], [1]], 5)
    assert first_of_each(seen).tolist() == [True, True, False, True]
    assert last_of_each(seen).tolist() == [False, True, True, True]


def test_cowatch_prefers_what_comes_next_and_near(items: Items) -> None:
    seen = interactions_of([[0, 1, 2, 3]] * 30, 10)
    got = cowatch.fit(seen, items, CONFIG).retrieve(ask_for(items, [[1]]), 5)
    assert got.items.tolist() == [[2, 0, 3]] or got.items.tolist() == [[2, 3, 0]]
    narrow = cowatch.fit(seen, items, CONFIG.model_copy(update={"cowatch_window": 1}))
    assert narrow.retrieve(ask_for(items, [[1]]), 5).items.tolist() == [[2, 0]]


def test_item_based_is_a_shrunk_cosine_that_trusts_busy_viewers_less(items: Items) -> None:
    seen = interactions_of([[0, 1], [0, 1], [0, 2, 3, 4, 5, 6, 7, 8]], 10)
    source = item_based.fit(seen, items, CONFIG.model_copy(update={"n_neighbours": 3}))
    got = source.retrieve(ask_for(items, [[0]]), 3)
    assert got.items[0].tolist() == [1, 2, 3]
    few, many = 1 / 2, 1 / 8
    shared = 2 * few / (np.sqrt((2 * few + many) * 2 * few) + item_based.SHRINKAGE)
    assert got.scores[0, 0] == pytest.approx(shared, rel=1e-5)


def ridge(histories: list[list[int]], n_items: int, regularization: float) -> np.ndarray:
    """Weights of each title from all others, one regression at a time, the title itself left out of its own."""
    seen = np.zeros((len(histories), n_items))
    for row, history in enumerate(histories):
        seen[row, history] = 1
    weights = np.zeros((n_items, n_items))
    for title in range(n_items):
        others = np.arange(n_items) != title
        normal = seen[:, others].T @ seen[:, others] + regularization * np.eye(n_items - 1)
        weights[others, title] = np.linalg.solve(normal, seen[:, others].T @ seen[:, title])
    return weights


def test_ease_serves_the_positive_weights_of_a_regression_on_all_other_titles(items: Items) -> None:
    draws = np.random.default_rng(1)
    histories = [draws.permutation(10)[: draws.integers(2, 7)].tolist() for _ in range(40)]
    source = ease.fit(interactions_of(histories, 10), items, CONFIG.model_copy(update={"ease_regularization": 3.0}))
    weights = ridge(histories, 10, 3.0)
    served = np.zeros((10, 10))
    held = source.tensors()
    for title, beside, given in zip(held["titles"], held["neighbours"], held["weights"], strict=True):
        served[title, beside[beside >= 0]] = given[beside >= 0]
    np.testing.assert_allclose(served, np.where(weights > 0, weights, 0), atol=2e-5)
    assert (weights < -0.01).any()


def test_ease_is_solved_for_the_most_watched_titles_only(items: Items) -> None:
    histories = [[1, 3, 7], [1, 3, 7], [1, 3], [1, 7], [2, 3]]
    few = CONFIG.model_copy(update={"ease_regularization": 1.0, "ease_titles": 3})
    held = ease.fit(interactions_of(histories, 10), items, few).tensors()
    assert sorted(set(held["neighbours"].ravel().tolist())) == [NO_ITEM, 1, 3, 7]
    assert held["titles"].tolist() == [1, 3, 7]
    kept = [[title for title in history if title != 2] for history in histories]
    np.testing.assert_allclose(held["weights"][0].max(), ridge(kept, 10, 1.0)[1].max(), rtol=1e-4)


def test_neighbours_keep_no_more_references_than_asked_and_no_short_ones(items: Items) -> None:
    seen = interactions_of([[0, 1, 2, 3, 4], [5, 6], [0, 1, 2, 3, 9], [4, 5, 6, 7, 8]], 10)
    source = neighbours.fit(seen, items, CONFIG.model_copy(update={"n_reference_profiles": 2}), seed=0)
    assert source.tensors()["offsets"].size == 3
    everyone = neighbours.fit(seen, items, CONFIG, seed=0)
    assert everyone.tensors()["offsets"].size == 4
    got = everyone.retrieve(ask_for(items, [[8]]), 5)
    assert sorted(got.items[0][got.items[0] >= 0].tolist()) == [4, 5, 6, 7]


def test_folding_in_solves_the_regularized_weighted_least_squares() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 4)).astype(np.float32)
    history = np.array([[3, 7, NO_ITEM], [NO_ITEM] * 3], np.int32)
    weights = np.array([[1, 0.5, 0], [0, 0, 0]], np.float32)
    got = FoldIn(vectors, regularization=0.1, alpha=10.0)(history, weights)
    confidence, wanted = np.ones(30), np.zeros(30)
    confidence[[3, 7]], wanted[[3, 7]] = (11, 6), 1
    normal = vectors.T @ (vectors * confidence[:, None]) + 0.1 * np.eye(4)
    np.testing.assert_allclose(got[0], np.linalg.solve(normal, vectors.T @ (confidence * wanted)), rtol=1e-4)
    assert not got[1].any()


def test_factors_never_propose_what_nobody_watched() -> None:
    world = make_world(n_circles=2, n_profiles=30)
    seen = world.interactions.where(world.interactions.item != 4)
    got = factors.fit(seen, world.items, CONFIG, seed=0).retrieve(world.ask([0]), world.items.n)
    assert (got.items >= 0).any()
    assert 4 not in got.items


def test_content_gives_a_title_that_nobody_watched_its_place() -> None:
    world = make_world(n_circles=4)
    new = 5
    seen = world.interactions.where(world.interactions.item != new)
    source = content.fit(seen, world.items, CONFIG, seed=0)
    history = [title for title in range(12) if title not in (new, 7, 8)]
    ask = ask_for(world.items, [history, [12, 13, 14]])
    ask.eligible[:, world.circle < 0] = False
    got = source.retrieve(ask, 4)
    assert new in got.items[0, :3]
    assert new not in got.items[1]


def test_content_s_seed_is_the_nearest_title_of_the_history() -> None:
    world = make_world(n_circles=4)
    got = content.fit(world.interactions, world.items, CONFIG, seed=0).retrieve(ask_for(world.items, [[1, 25]]), 12)
    for item, seed in zip(got.items[0], got.seeds[0], strict=True):
        if world.circle[item] in (0, 2):
            assert world.circle[seed] == world.circle[item]


def test_resume_offers_the_newest_unfinished_first_on_the_homepage_alone(items: Items) -> None:
    at_s = AS_OF_S + np.arange(4)
    words = fold.pack(at_s, np.array([1, 2, 3, 4]), np.full(4, Action.PROGRESS), np.zeros(4), np.array([20, 63, 20, 20]))
    profiles = columns([fold.fold(ProfileState(), words)], [ProfileSettings()])
    ask = ask_for(items, [[]])
    ask.profiles = profiles
    got = Resume().retrieve(ask, 5)
    assert got.items.tolist() == [[4, 3, 1]]
    assert got.scores[0].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    ask.resumable[0, 3] = False
    assert Resume().retrieve(ask, 1).items.tolist() == [[4]]
    assert Resume().retrieve(ask, 5).items.tolist() == [[4, 1]]
    elsewhere = ask_for(items, [[]], Page.CATEGORY)
    elsewhere.profiles = profiles
    assert Resume().retrieve(elsewhere, 5).items.size == 0


def test_a_title_with_few_watches_is_not_less_appealing_than_one_with_none(items: Items) -> None:
    histories = [[0, 1, 2]] * 30 + [[0, 3]] + [[0, 1]] * 30
    appeal = content.fit(interactions_of(histories, 10), items, CONFIG, seed=0).tensors()["appeal"]
    assert appeal[0] > appeal[1] > appeal[2] > appeal[3]
    assert appeal[3] > 0.85 * appeal[4]
    assert appeal[4] == appeal[9]

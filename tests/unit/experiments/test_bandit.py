"""Bandits: they learn planted problems, and the propensities they report are the ones they draw with."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recray.errors import ConfigError
from recray.experiments.bandit import LinUCB, ThompsonSampling

counts = st.lists(st.tuples(st.floats(0.5, 5_000), st.floats(0.5, 5_000)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(counts)
def test_thompson_probabilities_are_a_distribution_with_support_everywhere(pairs):
    successes, failures = np.array(pairs).T
    chances = ThompsonSampling(successes, failures).probabilities()
    assert chances.sum() == pytest.approx(1)
    assert chances.min() >= 0.01 - 1e-12


@pytest.mark.parametrize(
    "pairs", [[(1, 1), (1, 1)], [(5, 50), (6, 40), (1, 1)], [(300, 9_700), (310, 9_690), (280, 9_720), (1, 30)]]
)
def test_thompson_probabilities_equal_simulation(pairs):
    successes, failures = np.array(pairs, float).T
    drawn = np.random.default_rng(1).beta(successes, failures, (200_000, len(pairs))).argmax(axis=1)
    simulated = np.bincount(drawn, minlength=len(pairs)) / 200_000
    np.testing.assert_allclose(ThompsonSampling(successes, failures, 0.0).probabilities(), simulated, atol=0.005)


def test_thompson_draws_with_the_propensities_it_reports():
    bandit = ThompsonSampling(np.array([5.0, 6.0, 1.0]), np.array([50.0, 40.0, 1.0]))
    actions, propensities = bandit.choose(20_000, np.random.default_rng(2))
    chances = bandit.probabilities()
    np.testing.assert_array_equal(propensities, chances[actions])
    assert stats.chisquare(np.bincount(actions, minlength=3), chances * 20_000).pvalue > 0.001


def test_thompson_finds_the_best_arm_and_its_regret_stays_far_below_uniform():
    planted, rng = np.array([0.05, 0.08, 0.20, 0.11]), np.random.default_rng(3)
    bandit, regret = ThompsonSampling.fresh(4, min_probability=0.0), 0.0
    for _ in range(200):
        actions, _ = bandit.choose(20, rng)
        bandit.update(actions, (rng.random(20) < planted[actions]).astype(float))
        regret += float(np.sum(0.20 - planted[actions]))
    assert bandit.probabilities().argmax() == 2
    assert regret < 0.15 * 4_000 * (0.20 - planted.mean())


def test_thompson_counts_part_rewards_on_both_sides():
    bandit = ThompsonSampling.fresh(2)
    bandit.update(np.array([1, 1]), np.array([0.25, 1.0]))
    assert (bandit.successes.tolist(), bandit.failures.tolist()) == ([1, 2.25], [1, 1.75])


def test_a_floor_that_leaves_no_choice_is_refused():
    with pytest.raises(ConfigError, match=re.escape("min_probability 0.6 for 2 actions; expected 0 to 1 / n_actions")):
        ThompsonSampling.fresh(2, min_probability=0.6)


def test_linucb_learns_which_action_fits_which_context():
    rng = np.random.default_rng(4)
    planted = rng.normal(size=(3, 5))
    bandit, regrets = LinUCB.fresh(3, 5, alpha=0.5, epsilon=0.02), []
    for _ in range(150):
        contexts = rng.normal(size=(20, 5))
        value = contexts @ planted.T
        actions, _ = bandit.choose(contexts, rng)
        taken = value[np.arange(20), actions]
        bandit.update(contexts, actions, taken + rng.normal(0, 0.5, 20))
        regrets.append(float(np.mean(value.max(axis=1) - taken)))
    uniform = float(np.mean(value.max(axis=1) - value.mean(axis=1)))
    assert np.mean(regrets[-50:]) < 0.05 * uniform


def test_linucb_bounds_equal_the_formula_action_by_action():
    rng = np.random.default_rng(5)
    bandit, contexts = LinUCB.fresh(2, 3, alpha=0.7), rng.normal(size=(40, 3))
    actions, rewards = rng.integers(0, 2, 40), rng.normal(size=40)
    bandit.update(contexts, actions, rewards)
    asked = rng.normal(size=(6, 3))
    for action in range(2):
        X, r = contexts[actions == action], rewards[actions == action]
        inverse = np.linalg.inv(X.T @ X + np.eye(3))
        expected = [x @ inverse @ X.T @ r + 0.7 * np.sqrt(x @ inverse @ x) for x in asked]
        np.testing.assert_allclose(bandit.bounds(asked)[:, action], expected)


def test_linucb_draws_with_the_propensities_it_reports():
    bandit, context = LinUCB.fresh(3, 2, epsilon=0.3), np.ones((30_000, 2))
    actions, propensities = bandit.choose(context, np.random.default_rng(6))
    assert set(propensities.round(12)) == {0.8, 0.1}
    assert stats.chisquare(np.bincount(actions), np.array([0.8, 0.1, 0.1]) * 30_000).pvalue > 0.001


def test_an_action_of_probability_zero_is_never_drawn():
    actions, propensities = LinUCB.fresh(3, 1, epsilon=0.0).choose(np.ones((5_000, 1)), np.random.default_rng(7))
    assert set(actions) == {0}
    assert set(propensities) == {1.0}

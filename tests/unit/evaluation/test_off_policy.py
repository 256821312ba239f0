"""Off-policy estimators: planted truths, their reductions to each other, and the published figures on open bandit data."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recray.errors import DataError
from recray.evaluation import off_policy

N_ACTIONS = 6
BEHAVIOUR = np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
TARGET = np.array([0.05, 0.05, 0.1, 0.2, 0.3, 0.3])
RATE = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
TRUTH = float(TARGET @ RATE)


def draw(n: int, seed: int, rewards: np.ndarray | None = None) -> off_policy.Logged:
    rng = np.random.default_rng(seed)
    action = rng.choice(N_ACTIONS, n, p=BEHAVIOUR)
    reward = (rng.random(n) < RATE[action]).astype(float)
    return off_policy.logged(reward, BEHAVIOUR[action], action, TARGET[None], rewards)


def values(log: off_policy.Logged) -> dict[str, float]:
    return {
        "ips": off_policy.ips(log),
        "snips": off_policy.snips(log),
        "dm": off_policy.direct(log),
        "dr": off_policy.doubly_robust(log),
        "sndr": off_policy.self_normalized_doubly_robust(log),
    }


def test_ips_and_doubly_robust_are_unbiased_whatever_the_model():
    wrong = np.full((1, N_ACTIONS), 0.9)
    rows = [values(draw(500, seed, wrong)) for seed in range(400)]
    for name in ("ips", "dr", "snips", "sndr"):
        column = np.array([row[name] for row in rows])
        assert abs(column.mean() - TRUTH) < 4 * column.std() / 20, name
    assert rows[0]["dm"] == pytest.approx(0.9)


def test_the_true_model_makes_the_direct_method_exact_and_doubly_robust_steadier_than_ips():
    rows = [values(draw(500, seed, RATE[None])) for seed in range(100)]
    assert rows[0]["dm"] == pytest.approx(TRUTH)
    assert np.std([row["dr"] for row in rows]) < 0.9 * np.std([row["ips"] for row in rows])


def test_without_a_model_doubly_robust_is_ips_and_its_normalized_form_snips():
    found = values(draw(300, 1))
    assert found["dr"] == found["ips"]
    assert found["sndr"] == found["snips"]
    assert found["dm"] == 0


def test_on_policy_every_weight_is_one_and_every_estimate_the_mean_reward():
    action = np.array([0, 1, 2])
    log = off_policy.logged(np.array([1.0, 0.0, 1.0]), BEHAVIOUR[action], action, BEHAVIOUR[None])
    assert off_policy.ips(log) == pytest.approx(2 / 3)
    assert off_policy.snips(log) == pytest.approx(2 / 3)
    assert off_policy.effective_sample_size(log.weight) == pytest.approx(3)


def test_estimators_equal_their_formulas_row_by_row():
    log = draw(50, 2, np.linspace(0.1, 0.9, N_ACTIONS)[None])
    rows = list(zip(log.reward, log.target / log.propensity, log.predicted, log.predicted_target, strict=True))
    corrections = [w * (r - q) for r, w, q, _ in rows]
    base = sum(v for *_, v in rows) / 50
    assert off_policy.doubly_robust(log) == pytest.approx(base + sum(corrections) / 50)
    assert off_policy.self_normalized_doubly_robust(log) == pytest.approx(base + sum(corrections) / sum(w for _, w, *_ in rows))
    shrunk = [7 * w / (w * w + 7) * (r - q) for r, w, q, _ in rows]
    assert off_policy.doubly_robust(log, off_policy.shrunk(log.weight, 7.0)) == pytest.approx(base + sum(shrunk) / 50)
    switched = [w * (r - q) if w <= 1 else 0 for r, w, q, _ in rows]
    assert off_policy.doubly_robust(log, off_policy.switched(log.weight, 1.0)) == pytest.approx(base + sum(switched) / 50)


def test_switching_everything_off_leaves_the_direct_method_and_nothing_off_doubly_robust():
    log = draw(80, 3, RATE[None])
    assert off_policy.doubly_robust(log, off_policy.switched(log.weight, 0.0)) == pytest.approx(off_policy.direct(log))
    for weight in (off_policy.switched(log.weight, np.inf), off_policy.shrunk(log.weight, np.inf)):
        assert off_policy.doubly_robust(log, weight) == off_policy.doubly_robust(log)


def test_slope_accepts_shrinkage_that_agrees_and_refuses_shrinkage_that_does_not():
    rng = np.random.default_rng(4)
    heavy = rng.pareto(1.2, 4000) + 0.1
    zero = np.zeros(4000)
    propensity = np.minimum(1 / heavy, 1)
    log = off_policy.Logged((rng.random(4000) < 0.5).astype(float), propensity, propensity * 0 + 0.1, zero, zero)
    falling = [(h, off_policy.shrunk(log.weight, h)) for h in (np.inf, 1e4, 1e2, 1e-3)]
    chosen = off_policy.choose_by_slope(falling, log)
    assert chosen not in (np.inf, 1e-3)


def test_bootstrap_intervals_cover_the_truth():
    covered = dict.fromkeys(("ips", "snips", "dr", "sndr"), 0)
    for seed in range(100):
        found = off_policy.estimate(draw(300, seed, RATE[None]), 0.9, 60, np.random.default_rng(seed))
        for name in covered:
            covered[name] += not found[name].excludes(TRUTH)
    assert all(0.8 < n / 100 < 0.98 for n in covered.values()), covered


def test_every_estimator_is_reported_in_order_of_its_bounds():
    found = off_policy.estimate(draw(200, 5, RATE[None]), 0.95, 50, np.random.default_rng(0))
    assert set(found) == {"ips", "snips", "dm", "dr", "sndr", "switch_dr", "dros"}
    assert all(interval.low <= interval.high for interval in found.values())


def test_a_row_never_predicts_itself():
    action = np.zeros(300, np.int32)
    reward = np.zeros(300)
    reward[7] = 1.0
    rewards = off_policy.cross_fitted_rewards(action, reward, 2, np.random.default_rng(0), strength=1.0)
    assert rewards[7, 0] == 0.0
    assert rewards[:, 0].max() > 0.004


def test_a_propensity_of_zero_and_columns_of_other_lengths_are_refused():
    one = np.ones(2)
    with pytest.raises(DataError, match=re.escape("propensities run from 0.0 to 1.0; expected (0, 1]")):
        off_policy.Logged(one, np.array([0.0, 1.0]), one, one, one)
    with pytest.raises(DataError, match=re.escape("target probabilities run from 1.0 to 2.0; expected [0, 1]")):
        off_policy.Logged(one, one, np.array([1.0, 2.0]), one, one)
    with pytest.raises(DataError, match=re.escape("expected five of one length [n], n >= 1")):
        off_policy.Logged(one, one, one, one, one[:1])


def test_open_bandit_data_gives_the_published_relative_errors_to_six_digits(data_dir):
    """IPW .311082 and SNIPW .311795 over 30 bootstraps, as printed by the data set's own package [Saito2021].

    The CSV counts, per action and position, how often each of 80 actions came at each of three positions in a million
    draws of Bernoulli Thompson sampling under the published prior of campaign `all` (NumPy RandomState 12345).
    """
    source = data_dir / "open-bandit-small" / "impressions.parquet"
    if not source.exists():
        pytest.skip("open-bandit-small is not at hand")
    columns = ["policy", "campaign", "item_id", "position", "click", "propensity_score"]
    rows = pd.read_parquet(source, columns=columns).query("campaign == 'all'")
    truth = rows[rows.policy == "bts"].click.mean()
    random = rows[rows.policy == "random"]
    counts = np.loadtxt(Path(__file__).with_name("bernoulli_thompson_counts.csv"), delimiter=",")
    target = counts[random.item_id, random.position - 1] / 1e6
    reward, propensity, zero = random.click.to_numpy(float), random.propensity_score.to_numpy(), np.zeros(len(random))
    errors = []
    for seed in range(30):
        at = np.random.RandomState(seed).choice(len(random), len(random))
        log = off_policy.Logged(reward[at], propensity[at], target[at], zero, zero)
        errors.append([abs(off_policy.ips(log) - truth) / truth, abs(off_policy.snips(log) - truth) / truth])
    assert np.mean(errors, axis=0).round(6).tolist() == [0.311082, 0.311795]

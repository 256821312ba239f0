"""Analysis against scipy, by coverage, and by what peeking costs."""

import re

import numpy as np
import pytest
from scipy import stats

from recray.errors import DataError
from recray.experiments import analysis
from recray.experiments.analysis import Sample


def test_welch_equals_scipy():
    rng = np.random.default_rng(1)
    control, treatment = rng.normal(1, 1, 80), rng.normal(1.2, 3, 50)
    lift = analysis.welch(Sample.of(control), Sample.of(treatment), 0.9)
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    bounds = expected.confidence_interval(0.9)
    assert lift.p_value == pytest.approx(expected.pvalue)
    assert (lift.absolute.low, lift.absolute.high) == pytest.approx((bounds.low, bounds.high))


def test_arms_without_variance_differ_surely_or_not_at_all():
    same, other = Sample(10, 1.0, 0.0), Sample(10, 2.0, 0.0)
    assert analysis.welch(same, same).p_value == 1.0
    assert analysis.welch(same, other).p_value == 0.0
    assert analysis.welch(same, other).relative.estimate == 1.0


def test_the_relative_interval_covers_the_planted_lift():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(400):
        lift = analysis.welch(Sample.of(rng.exponential(2, 300)), Sample.of(rng.exponential(6.0, 300)))
        covered += not lift.relative.excludes(2.0)
    assert covered / 400 == pytest.approx(0.95, abs=0.03)


def test_a_control_without_a_mean_has_no_relative_lift():
    assert np.isnan(analysis.welch(Sample(5, 0.0, 1.0), Sample(5, 1.0, 1.0)).relative.estimate)


def test_the_ratio_interval_holds_where_the_naive_one_fails():
    """Clicks of one viewer go together: taking impressions as units makes the error far too small."""
    rng = np.random.default_rng(3)
    rejected, naive_rejected = 0, 0
    for _ in range(300):
        arms, naive = [], []
        for _ in range(2):
            impressions = rng.integers(1, 60, 200)
            clicks = rng.binomial(impressions, rng.beta(1, 4, 200))
            arms.append(Sample.of_ratio(clicks, impressions))
            rate, n = clicks.sum() / impressions.sum(), int(impressions.sum())
            naive.append(Sample(n, rate, rate * (1 - rate)))
        rejected += analysis.welch(*arms).p_value < 0.05
        naive_rejected += analysis.welch(*naive).p_value < 0.05
    assert rejected / 300 == pytest.approx(0.05, abs=0.03)
    assert naive_rejected / 300 > 0.2


def test_sample_ratio_flags_a_broken_split_and_seldom_a_sound_one():
    rng = np.random.default_rng(4)
    p_values = [
        analysis.sample_ratio(dict(zip("ab", rng.multinomial(10_000, [0.25, 0.75]), strict=True)), {"a": 1, "b": 3})
        for _ in range(500)
    ]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)
    assert analysis.sample_ratio({"a": 2_800, "b": 7_200}, {"a": 1, "b": 3}) < analysis.SAMPLE_RATIO_ALPHA
    assert analysis.sample_ratio({}, {"a": 1, "b": 3}) == 1.0


def test_units_in_an_arm_without_weight_are_refused():
    message = "units were counted in arms ['c'], which have no weight; expected ['a', 'b']"
    with pytest.raises(DataError, match=re.escape(message)):
        analysis.sample_ratio({"a": 1, "c": 4}, {"a": 1, "b": 1})


def test_too_few_units_and_empty_denominators_are_refused():
    with pytest.raises(DataError, match=re.escape("an arm has 1 units; expected at least 2 to know their variance")):
        Sample.of([1.0])
    with pytest.raises(DataError, match="the denominators sum to 0"):
        Sample.of_ratio([0.0, 0.0], [0.0, 0.0])


def test_cuped_keeps_the_lift_and_removes_the_squared_correlation_of_variance():
    rng = np.random.default_rng(5)
    lifts, plain, shrink = [], [], []
    for _ in range(200):
        before = rng.normal(0, 1, (2, 400))
        values = 0.8 * before + 0.6 * rng.normal(0, 1, (2, 400)) + np.array([[0], [0.1]])
        adjusted = analysis.cuped(values[0], values[1], before[0], before[1])
        lifts.append(adjusted[1].mean() - adjusted[0].mean())
        plain.append(values[1].mean() - values[0].mean())
        shrink.append(adjusted[0].var() / values[0].var())
    assert np.mean(lifts) == pytest.approx(0.1, abs=0.01)
    assert np.mean(shrink) == pytest.approx(1 - 0.64, abs=0.02)
    assert np.var(lifts) < 0.5 * np.var(plain)


def test_a_covariate_that_never_varies_changes_nothing():
    values, flat = np.array([1.0, 2.0]), np.ones(2)
    np.testing.assert_array_equal(analysis.cuped(values, values, flat, flat)[0], values)


def test_watching_a_fixed_look_test_errs_often_and_the_always_valid_interval_does_not():
    """Thirty looks at an A/A test: the z-test finds a winner in nearly 30 %, the confidence sequence in at most 5 %."""
    rng = np.random.default_rng(6)
    n_tests, looks, batch = 600, 30, 100
    fooled, sequentially_fooled = np.zeros(n_tests, bool), np.zeros(n_tests, bool)
    for test in range(n_tests):
        values = rng.exponential(1, (2, looks * batch))
        total, square = values.cumsum(axis=1), (values**2).cumsum(axis=1)
        for n in range(batch, looks * batch + 1, batch):
            mean = total[:, n - 1] / n
            variance = (square[:, n - 1] - n * mean**2) / (n - 1)
            arms = [Sample(n, float(m), float(v)) for m, v in zip(mean, variance, strict=True)]
            z = (arms[1].mean - arms[0].mean) / np.sqrt(arms[0].squared_error + arms[1].squared_error)
            fooled[test] |= abs(z) > 1.96
            sequentially_fooled[test] |= analysis.always_valid(*arms, n_planned=2 * looks * batch).excludes(0)
    assert 0.24 < fooled.mean() < 0.36
    assert sequentially_fooled.mean() <= 0.05


def test_the_always_valid_interval_still_finds_a_real_lift():
    rng = np.random.default_rng(7)
    found = [
        analysis.always_valid(Sample.of(rng.normal(0, 1, 2_000)), Sample.of(rng.normal(0.15, 1, 2_000)), 4_000).excludes(0)
        for _ in range(100)
    ]
    assert np.mean(found) > 0.9


def test_the_always_valid_interval_is_narrowest_against_a_fixed_look_where_it_was_planned():
    def inflation(n):
        arm = Sample(n, 0.0, 1.0)
        return analysis.always_valid(arm, arm, 2_000).high / analysis.welch(arm, arm).absolute.high

    assert inflation(1_000) < min(inflation(100), inflation(20_000))
    assert inflation(1_000) == pytest.approx(1.55, abs=0.02)


def test_the_planned_number_of_units_reaches_the_planned_power():
    rng = np.random.default_rng(8)
    n = analysis.n_per_arm(deviation=1.0, effect=0.25, power=0.8)
    found = [
        analysis.welch(Sample.of(rng.normal(0, 1, n)), Sample.of(rng.normal(0.25, 1, n))).p_value < 0.05 for _ in range(800)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.045)
    assert analysis.detectable_effect(1.0, n, 0.8) == pytest.approx(0.25, rel=0.01)

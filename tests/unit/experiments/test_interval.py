"""The bootstrap: it agrees with theory where there is one."""

import numpy as np
import pytest

from recray.experiments import interval


def test_the_bootstrap_of_a_mean_has_the_standard_error_of_theory():
    values = np.random.default_rng(1).exponential(size=(500, 1))
    means = interval.resampled_means(values, 2_000, np.random.default_rng(2))[:, 0]
    assert means.std() == pytest.approx(values.std() / 500**0.5, rel=0.06)
    assert means.mean() == pytest.approx(values.mean(), rel=0.01)


def test_columns_are_resampled_together():
    values = np.random.default_rng(3).normal(size=100)
    means = interval.resampled_means(np.stack((values, values + 1), axis=1), 50, np.random.default_rng(4))
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 1)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(5).normal(size=(100, 1))
    first, second = (interval.bootstrap(values, lambda m: m[:, 0], 0.9, 50, np.random.default_rng(6)) for _ in range(2))
    assert first == second


def test_no_rows_give_nan():
    assert np.isnan(interval.resampled_means(np.empty((0, 2)), 3, np.random.default_rng(0))).all()


def test_bounds_belong_to_the_interval():
    found = interval.Interval(0.5, 0.0, 1.0)
    assert [found.excludes(value) for value in (-0.1, 0.0, 1.0, 1.1)] == [True, False, False, True]
    assert str(found) == "0.5 [0, 1]"

import itertools
import re

import numpy as np
import pytest

from recray.errors import DataError
from recray.features.interactions import Interactions
from recray.training.rating_models import MODELS, Space, fit, rounds
from worlds import rated

NOW = np.zeros(1, np.int64)


def planted(n_profiles: int = 60, n_items: int = 40) -> Interactions:
    """Stars that are a mean, a number per viewer and title, and a taste of one dimension."""
    rng = np.random.default_rng(5)
    taste, style = rng.choice([-1, 1], n_profiles), rng.choice([-1, 1], n_items)
    viewer, title = rng.normal(0, 0.3, n_profiles), rng.normal(0, 0.3, n_items)
    rows = [
        (p, i, 3 + viewer[p] + title[i] + taste[p] * style[i])
        for p, i in itertools.product(range(n_profiles), range(n_items))
        if rng.random() < 0.6
    ]
    return rated(rows, n_profiles, n_items)


def test_the_first_round_of_biases_is_the_shrunk_mean_of_each_viewer() -> None:
    ratings = rated([(0, 0, 5), (0, 1, 5), (1, 0, 1), (1, 1, 1)], 2, 2)
    model = next(rounds(ratings, 0, 0.25, np.random.default_rng(0)))
    # Viewer 0: two residuals of 2 over 2 + 0.25 * 2; no title differs from what its viewers explain.
    assert model.mean == 3
    assert model.viewers[:, 0].tolist() == pytest.approx([1.6, -1.6])
    assert model.titles[:, 0].tolist() == pytest.approx([0, 0])
    predicted = model.predict(np.array([0, 1], np.int32), np.array([0, 1], np.int32), NOW)
    assert predicted.tolist() == pytest.approx([4.6, 1.4])


def test_an_unknown_viewer_gets_the_titles_mean() -> None:
    ratings = rated([(0, 0, 5), (1, 1, 1)], 3, 2)
    model = next(rounds(ratings, 4, 0.1, np.random.default_rng(0)))
    assert model.viewers[2].tolist() == [0] * 5
    predicted = model.predict(np.array([2], np.int32), np.array([0], np.int32), NOW)
    assert predicted[0] == pytest.approx(model.mean + model.titles[0, -1])


def test_predictions_stay_within_the_stars_that_were_learnt_from() -> None:
    ratings = rated([(0, 0, 4), (0, 1, 4.5), (1, 0, 2), (1, 1, 3)], 2, 2)
    model = next(rounds(ratings, 0, 0.0001, np.random.default_rng(0)))
    model.viewers[:, 0] = [9, -9]
    predicted = model.predict(np.array([0, 1], np.int32), np.array([0, 0], np.int32), NOW)
    assert predicted.tolist() == [4.5, 2]


def test_a_planted_taste_is_found_by_vectors_and_not_by_means() -> None:
    ratings = planted()
    _, means = fit(ratings, MODELS["bias"], 1)
    _, vectors = fit(ratings, Space(2, (0.01, 0.1)), 1)
    assert means["validation_rmse"] > 0.7
    assert vectors["validation_rmse"] < 0.3
    assert vectors["regularization"] == 0.01


def test_one_seed_gives_one_model() -> None:
    one, other = (fit(planted(), Space(2, (0.05,)), 3)[0] for _ in range(2))
    assert np.array_equal(one.viewers, other.viewers)
    assert not np.array_equal(one.viewers, fit(planted(), Space(2, (0.05,)), 4)[0].viewers)


def test_too_few_ratings_are_refused() -> None:
    wanted = "3 ratings came to be learnt from; expected at least 10"
    with pytest.raises(DataError, match=re.escape(wanted)):
        fit(rated([(0, 0, 5), (0, 1, 4), (1, 0, 3)], 2, 2), MODELS["bias"], 1)

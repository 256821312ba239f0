import re

import numpy as np
import pytest

from recray.errors import ConfigError, DataError
from recray.evaluation.metrics import log_loss, rmse
from recray.features.interactions import Interactions
from recray.training import rating_probit
from recray.training.rating_probit import ProbitModel, Sampling
from worlds import rated

QUICK = Sampling(dim=4, n_rounds=40, n_kept=30, told_every=20)


def tastes(n_profiles: int = 60, n_items: int = 40) -> Interactions:
    """Viewers who love one half of the titles and hate the other, which half their number says; four ratings in ten."""
    draws = np.random.default_rng(2)
    rows = [(p, i, 5.0 if (p + i) % 2 == 0 else 1.0) for p in range(n_profiles) for i in range(n_items) if draws.random() < 0.4]
    return rated(rows, n_profiles, n_items)


def silent(line: str) -> None:
    pass


def fit(ratings: Interactions, how: Sampling = QUICK) -> ProbitModel:
    pytest.importorskip("myfm", reason="the extra `ratings` is not installed")
    return rating_probit.fit(ratings, 1, silent, how)


def test_chances_are_a_distribution_over_the_stars_that_were_learnt_from() -> None:
    ratings = tastes()
    model = fit(ratings)
    chances = model.chances(ratings.profile[:50], ratings.item[:50], ratings.at_s[:50])
    assert model.stars.tolist() == [1, 5]
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-9)
    predicted = model.predict(ratings.profile[:50], ratings.item[:50], ratings.at_s[:50])
    np.testing.assert_allclose(predicted, 1 + 4 * chances[:, 1], rtol=1e-9)


def test_a_taste_is_predicted_for_titles_that_the_viewer_never_rated() -> None:
    ratings = tastes()
    model = fit(ratings)
    rated_already = set(zip(ratings.profile.tolist(), ratings.item.tolist(), strict=True))
    pairs = np.array([(p, i) for p in range(60) for i in range(40) if (p, i) not in rated_already], np.int32)
    actual = np.where(pairs.sum(axis=1) % 2 == 0, 5.0, 1.0)
    predicted = model.predict(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs), np.int64))
    assert rmse(predicted, actual) < 0.5


def test_a_day_and_a_viewer_that_were_never_learnt_from_are_predicted_too() -> None:
    ratings = rated([(p, i, 4.0 if i % 2 else 2.0) for p in range(20) for i in range(10)], 21, 10)
    unknown, titles = np.full(10, 20, np.int32), np.arange(10, dtype=np.int32)
    predicted = fit(ratings).predict(unknown, titles, np.full(10, 10**9, np.int64))
    assert predicted[1::2].min() > predicted[::2].max()


def test_one_star_value_is_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match=re.escape("2 ratings came with 1 different star values; expected at least 2")):
        fit(rated([(0, 0, 5.0), (1, 1, 5.0)], 2, 2))


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_probit, "installed", lambda: False)
    wanted = "the model probit needs the library myfm: pip install 'recray[ratings]'"
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        rating_probit.fit(tastes(), 1, silent)


def test_what_was_thought_impossible_costs_much_and_not_everything() -> None:
    assert log_loss([1.0, 0.0]) == pytest.approx(-np.log(1e-15) / 2)
    assert np.isnan(log_loss([]))

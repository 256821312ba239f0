"""What the tree ranker promises beyond the contract of rankers."""

import re

import numpy as np
import pytest
import xgboost

import example_world as world
from recray.errors import ModelError
from recray.features.vectorize import item_matrix
from recray.ranking import boosted, boosted_fit
from recray.ranking.boosted import BoostedRanker, columns, fit, rows_of
from recray.ranking.boosted_fit import _calibrate
from recray.schema import Objective
from recray.settings import BoostedSettings


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    xgboost.set_config(nthread=1)


def _fit(**differences: float) -> tuple[BoostedRanker, list[dict[str, float]]]:
    reports: list[dict[str, float]] = []
    config = BoostedSettings(**({"n_trees": 30} | differences))
    train, validation = world.examples(150, 1), world.examples(60, 2)
    return fit(train, validation, world.items(), config, seed=1, report=reports.append), reports


def test_rows_are_user_context_item_and_match_in_the_order_of_the_columns() -> None:
    inputs, features = world.examples(5, 1).inputs, item_matrix(world.items())
    rows = rows_of(inputs, features)
    assert rows.shape == ((inputs.items >= 0).sum(), len(columns()))
    n_user = inputs.user.shape[1]
    np.testing.assert_array_equal(rows[0, :n_user], inputs.user[0])
    np.testing.assert_array_equal(rows[1, n_user : -inputs.match.shape[2]], features[inputs.items[0, 1]])
    np.testing.assert_array_equal(rows[1, -inputs.match.shape[2] :], inputs.match[0, 1])
    assert columns()[n_user] == "item.kind_0"
    assert len(set(columns())) == len(columns())


def test_fit_stops_early_and_keeps_the_best_round() -> None:
    ranker, reports = _fit(n_trees=200, learning_rate=0.5, early_stopping_rounds=5)
    best = max(reports, key=lambda r: r["ndcg"])
    assert len(reports) == best["epoch"] + 5 < 200
    assert ranker.trees[Objective.START].num_boosted_rounds() == best["epoch"]


def test_matrix_in_pieces_gives_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = _fit()
    monkeypatch.setattr(boosted_fit, "_REQUESTS_AT_ONCE", 40)
    pieces, _ = _fit()
    inputs = world.examples(20, 5).inputs
    np.testing.assert_allclose(whole.predict(inputs), pieces.predict(inputs), atol=1e-5)


def test_completion_counts_more_than_a_start() -> None:
    """Of two titles that are started alike, the one that is finished comes first."""
    train, validation = world.examples(300, 1), world.examples(80, 2)
    for given in (train, validation):
        known = given.inputs.items >= 0
        odd = given.inputs.items % 2 == 1
        given.labels[:, :, Objective.START] = np.where(known, (given.inputs.match[:, :, 5] > 0.7), np.nan)
        started = given.labels[:, :, Objective.START] == 1
        given.labels[:, :, Objective.COMPLETION] = np.where(started, odd, np.nan)
        given.inputs.match[:, :, 6] = odd & known
    ranker = fit(train, validation, world.items(), BoostedSettings(n_trees=30), seed=1, report=lambda figures: None)
    inputs = world.examples(1, 9).inputs
    inputs.items[0] = 7
    inputs.match[:] = inputs.match[0, 0]
    inputs.match[0, :, 5] = 0.9
    inputs.match[0, :12, 6], inputs.match[0, 12:, 6] = 0, 1
    p = ranker.predict(inputs)[0, :, Objective.START]
    assert p[12:].min() > p[:12].max()


def test_starts_that_weigh_more_come_first() -> None:
    """Half of the titles are started as often as the others, but from where fewer look."""
    train, validation = world.examples(300, 1), world.examples(200, 2)
    for given in (train, validation):
        known, odd = given.inputs.items >= 0, given.inputs.items % 2 == 1
        draws = np.random.default_rng(3)
        given.labels[:, :, Objective.START] = np.where(known, draws.random(known.shape) < 0.15, np.nan)
        given.labels[:, :, Objective.COMPLETION] = np.nan
        given.inputs.match[:, :, 6] = odd & known
        given.weight[odd & (given.labels[:, :, Objective.START] == 1)] = 4
    inputs = world.examples(1, 9).inputs
    inputs.items[0] = 7
    inputs.match[:] = inputs.match[0, 0]
    inputs.match[0, :12, 6], inputs.match[0, 12:, 6] = 0, 1

    def told_apart() -> float:
        ranker = fit(train, validation, world.items(), BoostedSettings(n_trees=10), seed=1, report=lambda figures: None)
        p = ranker.predict(inputs)[0, :, Objective.START]
        return float(p[12:].min() - p[:12].max())

    assert told_apart() > 0.02
    train.weight[:], validation.weight[:] = 1, 1
    assert abs(told_apart()) < 0.01


def test_without_weights_the_trees_are_those_of_grades() -> None:
    """Gains that are given are those XGBoost makes of the grades 0, 1 and 2."""
    config = BoostedSettings(n_trees=10, early_stopping_rounds=10)
    train, validation = world.examples(150, 1), world.examples(60, 2)
    ranker = fit(train, validation, world.items(), config, seed=1, report=lambda figures: None)
    features = item_matrix(world.items())
    present = train.inputs.items >= 0
    labels = train.labels[present]
    grade = labels[:, Objective.START] + np.nan_to_num(labels[:, Objective.COMPLETION])
    data = xgboost.QuantileDMatrix(rows_of(train.inputs, features), grade, qid=np.nonzero(present)[0], feature_names=columns())
    parameters = {
        "eta": config.learning_rate, "min_child_weight": config.min_child_weight, "subsample": config.subsample,
        "colsample_bytree": config.column_share, "tree_method": "hist", "seed": 1, "objective": "rank:ndcg",
        "max_depth": config.max_depth, "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": config.pairs_per_query,
    }  # fmt: skip
    wanted = xgboost.train(parameters, data, ranker.trees[Objective.START].num_boosted_rounds())
    assert ranker.trees[Objective.START].get_dump() == wanted.get_dump()


def test_calibration_counts_starts_by_their_weights() -> None:
    margins, started = np.zeros(400, np.float32), np.repeat(np.array([1, 0], np.float32), [100, 300])
    weight = np.where(started > 0, 3, 1).astype(np.float32)
    assert _calibrate(margins, started, weight)(margins[:1])[0] == pytest.approx(0.5, abs=0.01)


def test_calibration_finds_the_probabilities_behind_the_margins() -> None:
    draws = np.random.default_rng(3)
    margins = draws.normal(size=40_000).astype(np.float32)
    happened = (draws.random(40_000) < 1 / (1 + np.exp(-(0.7 * margins - 2)))).astype(np.float32)
    found = _calibrate(margins, happened, np.ones_like(happened))
    assert found.slope == pytest.approx(0.7, abs=0.05)
    assert found.intercept == pytest.approx(-2, abs=0.05)
    assert np.all(np.diff(found(np.sort(margins[:50]))) >= 0)


def test_calibration_stays_finite_when_margins_separate() -> None:
    found = _calibrate(np.array([-1, -1, 1, 1], np.float32), np.array([0, 0, 1, 1], np.float32), np.ones(4, np.float32))
    assert 0.5 < found(np.array([1.0], np.float32))[0] < 1


def test_trees_of_other_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker, _ = _fit(n_trees=2)
    monkeypatch.setattr(boosted, "columns", lambda: ["one"])
    with pytest.raises(ModelError, match=re.escape(f"fitted to {len(columns())} columns other than the 1 of this code")):
        BoostedRanker.restore(ranker.files(), world.items())

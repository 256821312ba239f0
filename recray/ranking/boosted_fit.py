"""How the tree ranker is fitted. XGBoost is imported here and where trees are read, nowhere else."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit
from xgboost import collective

from recray.ranking.boosted import Calibration, columns, rows_of
from recray.ranking.ndcg import ideal_dcg, require_starts
from recray.ranking.ranker import Examples, Report
from recray.schema import Floats, Objective
from recray.settings import BoostedSettings

_REQUESTS_AT_ONCE: Final = 2_000
_SMALL_SHARE: Final = 5  # the classifiers see few labels: a fifth of the ordering trees' rounds, and shallower
_SMALL_DEPTH: Final = 4


def fitted_trees(
    train: Examples, validation: Examples, features: Floats, config: BoostedSettings, run: tuple[int, Report]
) -> tuple[dict[Objective, xgb.Booster], Calibration]:
    """Trees per objective and the calibration of those of START, as `boosted.fit` promises; run = (seed, report).

    `features` [n_items, n_item_columns] float32 are those of the catalogue.

    Raises:
        DataError: `train` or `validation` has no request with a started candidate.
    """
    for examples, name in ((train, "training"), (validation, "validation")):
        require_starts(examples, name)
    seed, report = run
    common: dict[str, Any] = {
        "eta": config.learning_rate,
        "min_child_weight": config.min_child_weight,
        "subsample": config.subsample,
    }
    common |= {"colsample_bytree": config.column_share, "tree_method": "hist", "seed": seed}
    ordering = _fit_order(train, validation, features, config, (common, report))
    trees = {Objective.START: ordering}
    for objective in set(Objective) - {Objective.START}:
        rows, outcomes, _ = _known(train, features, objective)
        # Every process must take the same turn: the others would wait for one that has no such outcome in its shard.
        if collective.allreduce(np.array([len(outcomes)], np.int64), collective.Op.SUM)[0]:
            parameters = common | {"objective": "binary:logistic", "max_depth": min(config.max_depth, _SMALL_DEPTH)}
            data = xgb.DMatrix(rows, outcomes, feature_names=columns())
            trees[objective] = xgb.train(parameters, data, max(config.n_trees // _SMALL_SHARE, 1))
    rows, started, weight = _known(validation, features, Objective.START)
    margins = ordering.inplace_predict(rows, validate_features=False)
    return trees, _calibrate(margins, started, weight)


class _Requests(xgb.DataIter):
    """Feeds XGBoost the candidates of some requests at a time, so that the matrix of all never exists in float32."""

    def __init__(self, examples: Examples, item_features: Floats) -> None:
        super().__init__()
        start = examples.labels[:, :, Objective.START]
        self._examples, self._item_features = examples, item_features
        self._rows = np.flatnonzero((start > 0).any(axis=1))
        self._at = 0

    def reset(self) -> None:
        self._at = 0

    def next(self, input_data: Callable[..., Any]) -> bool:
        rows = self._rows[self._at : self._at + _REQUESTS_AT_ONCE]
        if not rows.size:
            return False
        self._at += len(rows)
        part = self._examples.take(rows)
        start, completion = part.labels[:, :, Objective.START], np.nan_to_num(part.labels[:, :, Objective.COMPLETION])
        known = np.isfinite(start)
        gain = np.where(known, start + 2 * completion, 0.0)
        weighed = gain * part.weight
        # XGBoost divides by the ideal of the gains it is given; a request's weight makes it that of the gains as they were.
        worth = ideal_dcg(weighed, gain.shape[1]) / ideal_dcg(gain, gain.shape[1])
        present = part.inputs.items >= 0
        known = known[present]
        request = rows[np.nonzero(part.inputs.items >= 0)[0]]
        data = rows_of(part.inputs, self._item_features)
        input_data(data=data[known], label=weighed[present][known], weight=worth, qid=request[known], feature_names=columns())
        return True


class _Reporting(xgb.callback.TrainingCallback):
    def __init__(self, report: Report) -> None:
        self._report = report

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: dict[str, Any]) -> bool:
        self._report({"epoch": epoch + 1.0, "ndcg": float(evals_log["validation"]["ndcg@10"][-1])})
        return False


def _fit_order(
    train: Examples, validation: Examples, features: Floats, config: BoostedSettings, common: tuple[dict[str, Any], Report]
) -> xgb.Booster:
    """Trees that order candidates, cut at the best round."""
    parameters, report = common
    data = xgb.QuantileDMatrix(_Requests(train, features))
    judged = xgb.QuantileDMatrix(_Requests(validation, features), ref=data)
    ranking: dict[str, Any] = {"objective": "rank:ndcg", "eval_metric": "ndcg@10", "ndcg_exp_gain": False}
    ranking |= {"max_depth": config.max_depth}
    ranking |= {"lambdarank_pair_method": "topk", "lambdarank_num_pair_per_sample": config.pairs_per_query}
    stopping = xgb.callback.EarlyStopping(rounds=config.early_stopping_rounds, maximize=True, save_best=True)
    return xgb.train(
        parameters | ranking,
        data,
        config.n_trees,
        evals=[(judged, "validation")],
        callbacks=[_Reporting(report), stopping],
        verbose_eval=False,
    )


def _known(examples: Examples, item_features: Floats, objective: Objective) -> tuple[Floats, Floats, Floats]:
    """Rows, labels and weights of the candidates whose outcome is known."""
    rows, (outcomes, weights) = [np.empty((0, len(columns())), np.float32)], ([np.empty(0, np.float32)] for _ in range(2))
    for start in range(0, len(examples), _REQUESTS_AT_ONCE):
        part = examples.take(np.arange(start, min(start + _REQUESTS_AT_ONCE, len(examples))))
        present = part.inputs.items >= 0
        labels = part.labels[present][:, objective]
        known = np.isfinite(labels)
        rows.append(rows_of(part.inputs, item_features)[known])
        outcomes.append(labels[known])
        weights.append(part.weight[present][known])
    return np.concatenate(rows), np.concatenate(outcomes), np.concatenate(weights)


def _calibrate(margins: Floats, started: Floats, weight: Floats) -> Calibration:
    """Slope and intercept of least log loss, with Platt's smoothed labels so that a perfect order stays finite.

    With weights of more than 1 what comes out is P(start) of a title that is looked at.
    """
    n_started = float((started * weight).sum())
    n_other = float((1 - started).sum())
    wanted = np.where(started > 0, (n_started + 1) / (n_started + 2), 1 / (n_other + 2))

    def log_loss(point: NDArray[np.float64]) -> float:
        logits = np.exp(point[0]) * margins + point[1]
        return float(np.mean(weight * (np.logaddexp(0, logits) - wanted * logits)))

    rate = (n_started + 1) / (n_started + n_other + 2)
    found = minimize(log_loss, np.array([0.0, logit(rate)]), method="L-BFGS-B", bounds=[(-10, 10), (-50, 50)])
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]))

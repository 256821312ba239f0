"""The tree ranker: XGBoost trees that order the candidates of a request, calibrated to probabilities."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from xgboost import collective

from recray.errors import ModelError
from recray.features.items import Items
from recray.features.vectorize import RankerInput, item_matrix
from recray.features.views import column_names
from recray.ranking.ndcg import ideal_dcg, require_starts
from recray.ranking.ranker import Examples, Report
from recray.schema import Floats, Objective
from recray.settings import BoostedSettings

_CONFIG: Final = "boosted.json"
_REQUESTS_AT_ONCE: Final = 2_000
_SMALL_SHARE: Final = 5  # the classifiers see few labels: a fifth of the ordering trees' rounds, and shallower
_SMALL_DEPTH: Final = 4


def columns() -> list[str]:
    """Names of the columns trees read, in order: user, context, item, match."""
    return [f"{entity}.{name}" for entity in ("user", "context", "item", "match") for name in column_names(entity)]


def rows_of(inputs: RankerInput, item_features: Floats) -> Floats:
    """One row [R, n_columns] float32 per candidate that is not padding, request by request."""
    request, candidate = np.nonzero(inputs.items >= 0)
    number = inputs.items[request, candidate]
    return np.concatenate((inputs.user[request], item_features[number], inputs.match[request, candidate]), axis=1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Margins of the ordering trees to P(start): 1 / (1 + exp(-(slope * margin + intercept))), slope > 0 [Platt1999].

    Strictly rising, so it keeps the order that the trees found; an isotonic fit would tie neighbours.
    """

    slope: float
    intercept: float

    def __call__(self, margins: Floats) -> Floats:
        return expit(self.slope * margins.astype(np.float64) + self.intercept).astype(np.float32)


@dataclass(frozen=True)
class BoostedRanker:
    """P(start), P(completion | start), P(dislike | start) of each candidate; immutable, may be called from any thread.

    `trees` holds one booster per objective that had examples; an objective without gives 0 throughout. `content` is the
    files' bytes as they were fitted, so that what is saved again is what was read.
    """

    name: ClassVar[str] = "boosted"
    trees: dict[Objective, xgb.Booster]
    content: dict[str, bytes]
    calibration: Calibration
    item_features: Floats

    def predict(self, batch: RankerInput) -> Floats:
        p = np.zeros((*batch.items.shape, len(Objective)), np.float32)
        present = batch.items >= 0
        if not present.any():
            return p
        rows = rows_of(batch, self.item_features)
        for objective, trees in self.trees.items():
            predicted = trees.inplace_predict(rows, validate_features=False)
            p[present, objective] = self.calibration(predicted) if objective == Objective.START else predicted
        return p

    def files(self) -> dict[str, bytes]:
        return dict(self.content)

    @classmethod
    def assemble(cls, trees: dict[Objective, xgb.Booster], calibration: Calibration, items: Items) -> Self:
        """The ranker of freshly fitted trees, read back from the bytes that will be saved."""
        content = {_file(objective): bytes(booster.save_raw("ubj")) for objective, booster in trees.items()}
        config = {
            "columns": columns(),
            "calibration": {"slope": calibration.slope, "intercept": calibration.intercept},
            "sha256": {name: hashlib.sha256(raw).hexdigest() for name, raw in content.items()},
        }
        return cls.restore(content | {_CONFIG: json.dumps(config, sort_keys=True).encode()}, items)

    @classmethod
    def restore(cls, files: dict[str, bytes], items: Items) -> Self:
        """The ranker over a catalogue.

        Raises:
            ModelError: a file is missing, truncated or altered, or the trees were fitted to other columns.
        """
        try:
            config: dict[str, Any] = json.loads(files[_CONFIG])
            calibration, digests = Calibration(**config["calibration"]), dict(config["sha256"])
            found = config["columns"]
            content = {name: files[name] for name in digests}
        except (KeyError, TypeError, ValueError) as problem:
            raise ModelError(f"tree ranker cannot be read: {problem!r}; take the bundle anew or train again") from problem
        if found != columns():
            raise ModelError(
                f"tree ranker was fitted to {len(found)} columns other than the {len(columns())} of this code: train it anew"
            )
        for name, raw in content.items():
            # XGBoost's parser is not made for bytes that someone cut or changed, so they never reach it.
            if hashlib.sha256(raw).hexdigest() != digests[name]:
                raise ModelError(
                    f"{name} of the tree ranker has {len(raw)} bytes that are not what was fitted; take the bundle anew"
                )
        trees = {objective: _booster(content[_file(objective)]) for objective in Objective if _file(objective) in content}
        return cls(trees, content | {_CONFIG: files[_CONFIG]}, calibration, item_matrix(items))


def _file(objective: Objective) -> str:
    return f"boosted_{objective.name.lower()}.ubj"


def _booster(raw: bytes) -> xgb.Booster:
    booster = xgb.Booster()
    booster.load_model(bytearray(raw))
    return booster


def fit(
    train: Examples, validation: Examples, items: Items, config: BoostedSettings, *, seed: int, report: Report
) -> BoostedRanker:
    """Fit ordering trees on START (`rank:ndcg`, completion graded above start) and a small classifier per other objective.

    Stops when validation NDCG@10 no longer rises and keeps the best round; `report` gets epoch (the round) and ndcg.
    Under a collective communicator of XGBoost each process passes its shard of `train` and all of `validation`.

    Raises:
        DataError: `train` or `validation` has no request with a started candidate.
    """
    for examples, name in ((train, "training"), (validation, "validation")):
        require_starts(examples, name)
    features = item_matrix(items)
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
    return BoostedRanker.assemble(trees, _calibrate(margins, started, weight), items)


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

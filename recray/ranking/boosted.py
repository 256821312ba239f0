"""The tree ranker: XGBoost trees that order the candidates of a request, calibrated to probabilities."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from scipy.special import expit

from recray.errors import ModelError
from recray.features.items import Items
from recray.features.vectorize import RankerInput, item_matrix
from recray.features.views import column_names
from recray.ranking.ranker import Examples, Report
from recray.schema import Floats, Objective
from recray.settings import BoostedSettings

if TYPE_CHECKING:
    import xgboost as xgb

_CONFIG: Final = "boosted.json"


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
    trees: dict[Objective, "xgb.Booster"]
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
    def assemble(cls, trees: dict[Objective, "xgb.Booster"], calibration: Calibration, items: Items) -> Self:
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


def _booster(raw: bytes) -> "xgb.Booster":
    import xgboost as xgb

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
    # It imports scikit-learn wherever that is installed, which takes seconds; serving may hold no trees.
    from recray.ranking.boosted_fit import fitted_trees

    return BoostedRanker.assemble(*fitted_trees(train, validation, item_matrix(items), config, (seed, report)), items)

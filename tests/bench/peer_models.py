"""Fits one peer package's models on a split and writes their lists; run by the Python of the peers' own environment.

Knows nothing of recray: a split comes as .npz, lists go as .npy files, and what a fit took as JSON. Each model is tried
with a few settings; those best by NDCG@10 on the split's validation requests are the ones whose lists are written. It is
asked twice where it can be: with histories as sets of titles, and with each title weighed by its recency, as recray weighs it.
"""

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import sparse

BATCH = 1000
TOP = 10
DIM = 64
HALF_LIFE = 4.0
"""In titles: recray's `sources.history_half_life`."""
NEIGHBOURS = 100
Score = Callable[[Any], Any]
"""Histories [B, n_titles] CSR of weights to scores [B, n_titles]."""


@dataclass
class Split:
    """`fit` [n_users, n_titles] CSR of ones; requests as (histories by kind, CSR, and targets)."""

    fit: Any
    catalogue: Any
    validation: tuple[dict[str, Any], Any]
    test: tuple[dict[str, Any], Any]


def load(path: Path) -> Split:
    stored = np.load(path)
    profile, item = stored["profile"], stored["item"]
    shape = int(stored["n_profiles"]), int(stored["n_items"])
    start = np.searchsorted(profile, np.arange(shape[0]))

    def requests(rows: Any) -> tuple[dict[str, Any], Any]:
        begin = start[profile[rows]]
        length = rows - begin
        line = np.repeat(np.arange(rows.size), length)
        at = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + begin[line]
        cells, size = (line, item[at]), (rows.size, shape[1])
        weights = np.exp2(-(rows[line] - 1 - at) / HALF_LIFE).astype(np.float32)
        return {"sets": ones(cells, size), "recent": sparse.csr_matrix((weights, cells), shape=size)}, item[rows]

    learnt = stored["learnt"]
    fit = ones((profile[learnt], item[learnt]), shape)
    return Split(fit, stored["catalogue"], requests(stored["validation_rows"]), requests(stored["test_rows"]))


def ones(cells: tuple[Any, Any], shape: tuple[int, int]) -> Any:
    matrix = sparse.csr_matrix((np.ones(cells[0].size, np.float32), cells), shape=shape)
    matrix.data[:] = 1
    return matrix


def lists(score: Score, histories: Any, catalogue: Any) -> Any:
    """The first TOP titles of each request [n, TOP], best first, ties by lower number; titles of its history excluded."""
    found = np.empty((histories.shape[0], TOP), np.int32)
    for start in range(0, histories.shape[0], BATCH):
        batch = histories[start : start + BATCH]
        scores = score(batch)
        scores = np.array(scores.toarray() if sparse.issparse(scores) else scores, np.float64)
        scores[:, ~catalogue] = -np.inf
        scores[batch.nonzero()] = -np.inf
        scores[np.isnan(scores)] = -np.inf
        least = np.partition(scores, -TOP, axis=1)[:, -TOP][:, None]
        # Everything from the least of the best on, so that ties at the edge are broken by number as well.
        for row in range(len(scores)):
            able = np.flatnonzero(scores[row] >= least[row])
            found[start + row] = able[np.argsort(-scores[row, able], kind="stable")][:TOP]
    return found


def ndcg(found: Any, targets: Any) -> float:
    hit = found == targets[:, None]
    return float((hit / np.log2(np.arange(TOP) + 2)).sum(axis=1).mean())


def implicit_als(matrix: Any, alpha: float, regularization: float) -> Score:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=DIM, alpha=alpha, regularization=regularization, iterations=15, random_state=1)
        model.fit(matrix, show_progress=False)

    def score(histories: Any) -> Any:
        with threadpool_limits(1, "blas"):
            return model.recalculate_user(np.arange(histories.shape[0]), histories) @ model.item_factors.T

    return score


def implicit_neighbours(matrix: Any, kind: str) -> Score:
    from implicit import nearest_neighbours

    model = getattr(nearest_neighbours, f"{kind}Recommender")(K=NEIGHBOURS)
    model.fit(matrix, show_progress=False)
    return lambda histories: histories @ model.similarity


def of_irspack(name: str, needs_epochs: bool = False) -> Callable[..., Score]:
    def fit(matrix: Any, **settings: Any) -> Score:
        import irspack

        model = getattr(irspack, f"{name}Recommender")(matrix, **settings)
        if needs_epochs:
            model._learn()  # `learn` would first look for a validation set of its own
        else:
            model.learn()
        return model.get_score_cold_user

    return fit


def of_lenskit(where: str, name: str) -> Callable[..., Score]:
    def fit(matrix: Any, **settings: Any) -> Score:
        import pandas as pd
        from lenskit.data import ItemList, RecQuery, from_interactions_df

        cells = matrix.tocoo()
        data = from_interactions_df(pd.DataFrame({"user_id": cells.row, "item_id": cells.col}))
        scorer = getattr(importlib.import_module(f"lenskit.{where}"), name)(**settings)
        scorer.train(data)
        # A title that came after the fit makes some of its scorers fail, so it is neither asked with nor for.
        fitted = np.unique(cells.col)
        everything = ItemList(item_ids=fitted)

        def score(histories: Any) -> Any:
            scores = np.full(histories.shape, -np.inf)
            for row in range(histories.shape[0]):
                query = RecQuery(user_items=ItemList(item_ids=np.intersect1d(histories[row].indices, fitted)))
                scores[row, fitted] = scorer(query=query, items=everything).scores()
            return scores

        return score

    return fit


class _RecBoleConfig(dict[str, Any]):
    device = "cpu"


def of_recbole(name: str, similarity: str) -> Callable[..., Score]:
    """Its models know the users they were fitted on; what they hold of titles answers others as well."""

    def fit(matrix: Any, **settings: Any) -> Score:
        fields = {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "NEG_PREFIX": "neg_", "device": "cpu"}
        data = SimpleNamespace(num=lambda field: matrix.shape[field == "item"], inter_matrix=lambda form: matrix.copy())
        general = importlib.import_module("recbole.model.general_recommender")
        held = getattr(getattr(general, name)(_RecBoleConfig(fields | settings), data), similarity)
        return lambda histories: histories @ held

    return fit


def rectools_ease(matrix: Any, regularization: float) -> Score:
    """As `of_recbole`."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel

    cells = matrix.tocoo()
    columns = {Columns.User: cells.row, Columns.Item: cells.col, Columns.Weight: 1.0, Columns.Datetime: "2000-01-01"}
    data = Dataset.construct(pd.DataFrame(columns))
    titles = data.item_id_map.external_ids
    weights = np.zeros((matrix.shape[1], matrix.shape[1]))
    weights[np.ix_(titles, titles)] = EASEModel(regularization=regularization).fit(data).weight
    return lambda histories: histories @ weights


def grid(**values: list[Any]) -> Iterator[dict[str, Any]]:
    keys = list(values)
    for cell in np.ndindex(*(len(values[key]) for key in keys)):
        yield {key: values[key][place] for key, place in zip(keys, cell, strict=True)}


MODELS: Mapping[str, tuple[str, Callable[..., Score], list[dict[str, Any]]]] = {
    "implicit ALS": ("implicit", implicit_als, list(grid(alpha=[1, 10, 40], regularization=[0.1, 10.0]))),
    "implicit BM25": ("implicit", implicit_neighbours, [{"kind": "BM25"}]),
    "implicit cosine": ("implicit", implicit_neighbours, [{"kind": "Cosine"}]),
    "implicit TF-IDF": ("implicit", implicit_neighbours, [{"kind": "TFIDF"}]),
    "irspack iALS": (
        "irspack",
        of_irspack("IALS"),
        list(grid(n_components=[DIM], alpha0=[0.05, 0.2], reg=[0.001, 0.01], train_epochs=[15])),
    ),
    "irspack DenseSLIM (EASE)": ("irspack", of_irspack("DenseSLIM"), list(grid(reg=[100, 300, 1000]))),
    "irspack P3alpha": ("irspack", of_irspack("P3alpha"), list(grid(alpha=[0.7, 1.0], top_k=[NEIGHBOURS]))),
    "irspack RP3beta": ("irspack", of_irspack("RP3beta"), list(grid(alpha=[0.7, 1.0], beta=[0.3, 0.6], top_k=[NEIGHBOURS]))),
    "irspack cosine": ("irspack", of_irspack("CosineKNN"), [{"shrinkage": 20.0, "normalize": True, "top_k": NEIGHBOURS}]),
    "lenskit EASE": ("lenskit", of_lenskit("knn", "EASEScorer"), list(grid(regularization=[300, 1000]))),
    "lenskit item k-NN": (
        "lenskit", of_lenskit("knn", "ItemKNNScorer"),
        [{"max_nbrs": NEIGHBOURS, "save_nbrs": NEIGHBOURS, "feedback": "implicit"}],
    ),
    "lenskit implicit MF": (
        "lenskit",
        of_lenskit("als", "ImplicitMFScorer"),
        [{"embedding_size": DIM, "epochs": 15, "weight": weight, "user_embeddings": False} for weight in (10, 40)],
    ),
    "recbole EASE": ("recbole", of_recbole("EASE", "item_similarity"), list(grid(reg_weight=[100, 300, 1000]))),
    "recbole ItemKNN": ("recbole", of_recbole("ItemKNN", "w"), [{"k": NEIGHBOURS, "shrink": 20.0, "knn_method": "item"}]),
    "rectools EASE": ("rectools", rectools_ease, list(grid(regularization=[100, 300, 1000]))),
}  # fmt: skip


SETS_ONLY = ("lenskit",)
"""Packages whose queries take titles without weights."""


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("split", "model", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--settings", help="JSON: fit with these alone, for the time that it takes")
    given = parser.parse_args()
    split, out = load(Path(given.split)), Path(given.out)
    package, fit, tried = MODELS[given.model]
    kinds = [kind for kind in split.test[0] if kind == "sets" or package not in SETS_ONLY]
    best: dict[str, dict[str, Any]] = {}
    for settings in [json.loads(given.settings)] if given.settings else tried:
        wall, cpu = time.perf_counter(), time.process_time()
        score = fit(split.fit, **settings)
        took = {"fit_s": time.perf_counter() - wall, "fit_cpu_s": time.process_time() - cpu}
        if given.settings:
            out.with_suffix(".json").write_text(json.dumps(took))
            return
        for kind in kinds:
            histories, targets = split.validation
            value = ndcg(lists(score, histories[kind], split.catalogue), targets)
            if kind not in best or value > best[kind]["validation"]:
                best[kind] = {"validation": value, "settings": settings, "score": score, **took}
    for kind, one in best.items():
        np.save(out.with_suffix(f".{kind}.npy"), lists(one.pop("score"), split.test[0][kind], split.catalogue))
    facts = {"package": package, "version": importlib.metadata.version(package), "tried": len(tried), "best": best}
    out.with_suffix(".json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()

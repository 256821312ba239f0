"""How well every model does on a published track: fits it, asks it every request, and says what was done.

Knows nothing of Ray. Judges candidate sources one by one and rating models; whole pipelines are judged by `judge`.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from recray.candidates.registered import fit_all, source_classes
from recray.catalog.titles import build_items
from recray.data.history import History
from recray.errors import ConfigError
from recray.evaluation import cold, tracks
from recray.evaluation.metrics import log_loss, mae, rmse
from recray.evaluation.protocol import others, rating_split, summary
from recray.evaluation.tracks import Track
from recray.features.interactions import Interactions
from recray.schema import Ints
from recray.settings import Settings
from recray.training import rating_models, rating_probit
from recray.training.track_requests import DEPTH, TOP, rank

Say = Callable[[str], None]

RATINGS: Final = "F"
TRACKS: Final = (*tracks.PROTOCOLS, RATINGS, *cold.PROTOCOLS)
_REQUEST_TIME: Final = "C"
_KNOWS_REQUEST_TIME: Final = ("sequence",)
_CUTOFFS: Final = (10, 50, 200)
_NOT_RANKED: Final[Mapping[str, str]] = {
    "new_releases": "orders titles by age and knows no viewer",
    "resume": "proposes only titles already begun, which the protocol excludes",
}
_TIMELESS: Final = "its scores do not depend on the moment of the request"
_AS_GIVEN: Final = "nothing: settings as given"
_EPOCHS: Final = "epochs by NDCG@10 on at most 2,000 validation rows, drawn with the seed; other settings as given"
_ASKED: Final = (
    f"Each model is asked as it is served, for {DEPTH} titles: a target beyond them, or that the model does not propose, is a "
    f"miss. Ties of scores go to the lower title number. NDCG is 1 / log2(1 + rank) of the one target. Coverage is the share "
    f"of the catalogue among the first {TOP} of at least one request."
)
_NOTHING: Final = pa.schema(
    [
        ("model", pa.string()),
        ("user_id", pa.string()),
        ("profile_id", pa.string()),
        ("n_seen", pa.int32()),
        ("rank", pa.int32()),
        ("content_id", pa.string()),
    ]
).empty_table()
_RATING_PROTOCOL: Final = (
    "A uniform random 10 % of the ratings, drawn with the seed, is predicted from the other 90 %, whatever their times. "
    "Predictions are clipped to the range of the training ratings and not rounded. RMSE and MAE over all of the 10 %. The "
    "model probit knows the day of the rating that it predicts; its log loss is that of the chances it gives each star value."
)


@dataclass(slots=True, frozen=True)
class Plan:
    """What is to be measured: `models` empty means all that the track judges, seeds count up from the settings' own."""

    track: str
    models: Sequence[str] = ()
    n_seeds: int = 1
    n_tie_shuffles: int = 0

    def __post_init__(self) -> None:
        if self.track not in TRACKS:
            raise ConfigError(f"track is {self.track!r}; expected one of {', '.join(TRACKS)}")
        able = _able(self.track)
        if strange := [name for name in self.models if name not in able]:
            raise ConfigError(
                f"track {self.track} does not judge {', '.join(strange)}; expected some of {', '.join(able) or 'none'}, or all"
            )
        if self.n_seeds < 1 or self.n_tie_shuffles < 0 or (self.track == RATINGS and self.n_tie_shuffles):
            raise ConfigError(
                f"{self.n_seeds} seeds and {self.n_tie_shuffles} tie shuffles came for track {self.track}; expected at least "
                "one seed, and shuffles only where order counts"
            )

    def judged(self) -> list[str]:
        """Names of the models in the order in which they are run."""
        return [name for name in _able(self.track) if not self.models or name in self.models]


def _able(track: str) -> list[str]:
    if track == RATINGS:
        return [*rating_models.MODELS, *([rating_probit.NAME] if rating_probit.installed() else [])]
    able = _KNOWS_REQUEST_TIME if track == _REQUEST_TIME else source_classes()
    return [name for name in able if name not in _NOT_RANKED]


@dataclass(slots=True, frozen=True)
class Measured:
    """`facts` are JSON values. `top` are the first titles of every request of the first seed; no rows on the rating track.

    Its columns: model, user_id, profile_id, n_seen (the length of the request's history, which tells requests of one
    profile apart), rank from 1, content_id.
    """

    facts: dict[str, Any]
    top: pa.Table


@dataclass(slots=True)
class _Run:
    """One model fitted and judged once: metrics, and what else is reported of it."""

    metrics: dict[str, float]
    about: dict[str, Any] = field(default_factory=dict)
    top: Ints = field(default_factory=lambda: np.empty((0, TOP), np.int32))


def measure(history: History, plan: Plan, settings: Settings, say: Say) -> Measured:
    """Figures of every model of a plan: those of the first seed, and their spread over seeds and over orders of ties.

    Raises:
        DataError: the data set leaves nothing to be learnt from or to be asked.
    """
    first = settings.training.seed
    track = None if plan.track == RATINGS else _cut(plan.track, history.plays)
    reordered = [
        _cut(plan.track, tracks.shuffled_ties(history.plays, np.random.default_rng((first, number))))
        for number in range(plan.n_tie_shuffles)
    ]
    models, tops = {}, {}
    for name in plan.judged():
        runs, shuffled = {}, {}
        for seed in range(first, first + plan.n_seeds):
            runs[str(seed)] = (
                _rate(history, name, seed, say) if track is None else _rank(history, track, name, settings, seed, say)
            )
            say(f"{name}, seed {seed}: {_brief(runs[str(seed)])}")
        for number, other in enumerate(reordered):
            shuffled[str(number)] = _rank(history, other, name, settings, first, say)
            say(f"{name}, tie shuffle {number}: {_brief(shuffled[str(number)])}")
        own = runs[str(first)]
        models[name] = own.metrics | own.about | _spread("over_seeds", runs) | _spread("over_tie_shuffles", shuffled)
        tops[name] = own.top
    if track is None:
        return Measured({"track": plan.track, **_about_ratings(history), "models": models}, _NOTHING)
    return Measured({"track": plan.track, **_about(history, track), "models": models}, _table(history, track, tops))


def _cut(name: str, plays: Interactions) -> Track:
    return (cold if name in cold.PROTOCOLS else tracks).make(name, plays)


def _rank(history: History, track: Track, name: str, settings: Settings, seed: int, say: Say) -> _Run:
    began, worked = time.perf_counter(), time.process_time()
    known = track.plays.where(track.learnt)
    items = build_items(history.titles, history.availability, known, int(known.at_s.max()) + 1, history.content)
    epochs: list[dict[str, float]] = []

    def heard(_: str, seconds: float, figures: dict[str, float]) -> None:
        if figures:
            epochs.append(figures)
            say(f"{name}, {seconds:.0f} s: " + ", ".join(f"{what} {value:.4g}" for what, value in figures.items()))

    timed = settings.sequence.model_copy(update={"request_time": track.name == _REQUEST_TIME})
    source = fit_all(
        known,
        items,
        settings.model_copy(update={"sequence": timed}),
        seed=seed,
        device="cuda" if settings.training.use_gpu else "cpu",
        report=heard,
        validation=track.plays.where(track.validation),
        only=[name],
    )[name]
    fitted, fit_cpu = time.perf_counter(), time.process_time() - worked
    with threadpool_limits(1):  # products for one history are so small that a second thread only waits
        ranked = rank(source, track, items, history.keys)
    wanted = {f"{metric}@{k}" for metric in ("hr", "ndcg") for k in _CUTOFFS} | {f"mrr@{TOP}"}
    metrics = {metric: value for metric, value in summary(ranked.rank, _CUTOFFS).items() if metric in wanted}
    metrics[f"coverage@{TOP}"] = np.unique(ranked.top[ranked.top >= 0]).size / int(track.catalogue.sum())
    about: dict[str, Any] = {
        "seconds": {"fit": fitted - began, "fit_cpu": fit_cpu, "evaluate": time.perf_counter() - fitted},
        "seed": seed,
        "chosen_on": _EPOCHS if epochs else _AS_GIVEN,
    }
    if track.groups:
        about["by_group"] = {
            group: {"n": int(mask.sum())}
            | {key: value for key, value in summary(ranked.rank[mask], _CUTOFFS).items() if key in wanted}
            for group, mask in track.groups.items()
        }
    return _Run(metrics, about | ({"epochs": epochs} if epochs else {}), ranked.top)


def _rate(history: History, name: str, seed: int, say: Say) -> _Run:
    began = time.perf_counter()
    asked = rating_split(history.plays, np.random.default_rng(seed))
    known = history.plays.where(others(history.plays, asked) & ~np.isnan(history.plays.rating))
    actual = history.plays.rating[asked.row]
    if name == rating_probit.NAME:
        probit = rating_probit.fit(known, seed, say)
        fitted = time.perf_counter()
        chances = probit.chances(asked.profile, asked.item, asked.at_s)
        predicted = chances @ probit.stars
        more = {"log_loss": log_loss((chances * (probit.stars == actual[:, None])).sum(axis=1))}
        how = {"chosen_on": rating_probit.CHOSEN_ON, "chosen": dataclasses.asdict(rating_probit.PUBLISHED)}
    else:
        model, chosen = rating_models.fit(known, rating_models.MODELS[name], seed)
        fitted = time.perf_counter()
        predicted, more = model.predict(asked.profile, asked.item, asked.at_s), {}
        how = {"chosen_on": rating_models.CHOSEN_ON, "chosen": chosen}
    metrics = {"rmse": rmse(predicted, actual), "mae": mae(predicted, actual), **more}
    seconds = {"fit": fitted - began, "evaluate": time.perf_counter() - fitted}
    return _Run(metrics, {"seconds": seconds, "seed": seed, **how})


def _brief(run: _Run) -> str:
    return ", ".join(f"{metric} {value:.4f}" for metric, value in list(run.metrics.items())[:2])


def _spread(name: str, runs: Mapping[str, _Run]) -> dict[str, Any]:
    """Mean and sample deviation of every metric over runs, and the runs; nothing where one run alone stands for itself."""
    if not runs or (name == "over_seeds" and len(runs) == 1):
        return {}
    metrics = list(next(iter(runs.values())).metrics)
    values = {metric: np.array([run.metrics[metric] for run in runs.values()]) for metric in metrics}
    return {
        name: {
            "n": len(runs),
            "mean": {metric: float(found.mean()) for metric, found in values.items()},
            "deviation": {metric: float(found.std(ddof=1)) if len(runs) > 1 else None for metric, found in values.items()},
            "runs": {which: run.metrics for which, run in runs.items()},
        }
    }


def _about(history: History, track: Track) -> dict[str, Any]:
    learnt = np.bincount(track.plays.item[track.learnt], minlength=track.plays.n_items)
    counts = {
        "name": history.name,
        "source": history.manifest.get("source"),
        "users": np.unique(track.plays.profile).size,
        "items": int(track.catalogue.sum()),
        "interactions": len(track.plays),
        "learnt": int(track.learnt.sum()),
        "validation": int(track.validation.sum()),
        "test_targets": len(track.targets),
        "test_targets_never_learnt": int((learnt[track.targets.item] == 0).sum()),
    }
    able = _able(track.name)
    not_judged = {
        name: _TIMELESS if track.name == _REQUEST_TIME else _NOT_RANKED[name] for name in source_classes() if name not in able
    }
    protocol = {**tracks.PROTOCOLS, **cold.PROTOCOLS}[track.name]
    return {"protocol": f"{protocol} {_ASKED}", "data": counts, "not_judged": not_judged}


def _about_ratings(history: History) -> dict[str, Any]:
    rated = history.plays.where(~np.isnan(history.plays.rating))
    counts = {
        "name": history.name,
        "source": history.manifest.get("source"),
        "users": np.unique(rated.profile).size,
        "items": np.unique(rated.item).size,
        "interactions": len(rated),
        "test_targets": round(0.1 * len(rated)),
    }
    not_judged = {} if rating_probit.installed() else {rating_probit.NAME: rating_probit.INSTALL}
    return {"protocol": _RATING_PROTOCOL, "data": counts, "not_judged": not_judged}


def _table(history: History, track: Track, tops: Mapping[str, Ints]) -> pa.Table:
    n_seen = track.targets.row - track.plays.bounds()[track.targets.profile]
    content_ids = history.titles["content_id"].combine_chunks()
    parts = [_NOTHING]
    for name, top in tops.items():
        request, place = np.nonzero(top >= 0)
        whose = [history.keys[profile] for profile in track.targets.profile[request]]
        columns = {
            "model": [name] * request.size,
            "user_id": [key.user_id for key in whose],
            "profile_id": [key.profile_id for key in whose],
            "n_seen": n_seen[request],
            "rank": place + 1,
            "content_id": content_ids.take(pa.array(top[request, place])),
        }
        parts.append(pa.table(columns, schema=_NOTHING.schema))
    return pa.concat_tables(parts)

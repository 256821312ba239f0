"""What position bias costs a ranker, and what weighing starts by examination gives back, in a world whose truth is known.

Rankers are fitted to one set of examples, with starts weighed up to each of several bounds, and judged by the chance that was
planted: that a viewer starts a title once it is looked at. No log shows that chance, so no position distorts the judgement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from threadpoolctl import threadpool_limits

from recray.bundle import Bundle, facts, from_bytes, to_bytes
from recray.candidates.generate import CandidateStage
from recray.data.examination import COLUMNS, Examination, counts, estimate, falling, harvest
from recray.data.grouped import settings_of
from recray.data.history import History
from recray.data.replay import Moment, asked
from recray.evaluation.metrics import ndcg_at
from recray.experiments.interval import Doubles, bootstrap, resampled_means
from recray.features.vectorize import ranker_input
from recray.ranking import boosted, deep, examples_file
from recray.ranking.ranker import Examples, Ranker
from recray.recommend import N_HISTORY
from recray.schema import NO_ITEM, Action, Floats, Ints, Longs, Objective, ProfileKey, ProfileSettings, word
from recray.settings import Settings
from recray.simulation.viewing import EXAMINED_DECAY, FOLLOWED, MOST_PLAYS, SHOWN
from recray.simulation.world import Truth
from recray.stores.lake import Lake
from recray.training.fit_sources import Say, fit_sources
from recray.training.judge import unrestricted_bundle
from recray.training.run import TEST, TRAIN, VALIDATION, Drawn, draw_examples

CONFIDENCE: Final = 0.95
N_RESAMPLES: Final = 500
BOUNDS: Final = (1.0, 3.0, 10.0)
"""Bounds of `examples.most_start_weight` that are compared; the first treats no bias."""
_BATCH: Final = 32
_KEY: Final = ["user_id", "profile_id"]
PROTOCOL: Final = (
    "A synthetic world. chances: of a place to be looked at, relative to the first; `estimated` from pairs of impressions "
    "before the end of the rankers' period, between bounds over profiles; `planted` what the world does in the same slates, "
    "where a viewer looks at position p with chance exp(-0.22 p) (`looked_at`) and leaves after two plays. models: the "
    "rankers alone order the candidates of the test period's requests, means over seeds and requests. planted_ndcg: "
    "discounted planted chance to start once looked at, over the best order of the same candidates; planted_chance: its mean "
    "over the list; logged_ndcg: of the title started next, as the biased log has it; weighed_ndcg: the same, requests "
    "weighed by 1 / planted chance of the place it was started from. gain: planted_ndcg over that of the first bound, "
    "between bounds over requests."
)


@dataclass(frozen=True, slots=True)
class Looked:
    """How a world's slates were looked at: what the log tells, between `bounds` [2, n_positions], and what was planted."""

    examination: Examination
    bounds: Doubles
    planted: Doubles

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        places = range(len(self.examination.position))
        rows = [
            {
                "position": place,
                "estimated": round(self.examination.position[place], 4),
                "low": round(float(self.bounds[0, place]), 4),
                "high": round(float(self.bounds[1, place]), 4),
                "planted": round(float(self.planted[place]), 4),
                "looked_at": round(float(np.exp(-EXAMINED_DECAY * place)), 4),
            }
            for place in places
        ]
        return {"n_starts": self.examination.n_starts, "chances": rows}


def looked(events: pa.Table, truth: Truth, seed: int) -> Looked:
    """Estimated chances of positions from events, with intervals over profiles, beside the planted ones."""
    pairs = harvest(events)
    n = SHOWN * SHOWN
    profiles = [own for _, own in pairs.group_by(_KEY, maintain_order=True)]
    columns = np.zeros((len(profiles), 2 * n))
    for row, own in enumerate(profiles):
        columns[row] = np.concatenate([_padded(matrix).ravel() for matrix in counts(own, "position")])
    means = resampled_means(columns, N_RESAMPLES, np.random.default_rng(seed)) * len(profiles)
    drawn = np.array([falling(*each.reshape(2, SHOWN, SHOWN)) for each in means])
    bounds = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Looked(estimate(pairs), bounds, planted_chances(events, truth))


def _padded(matrix: Doubles) -> Doubles:
    return np.pad(matrix, ((0, SHOWN - len(matrix)),) * 2)


def planted_chances(events: pa.Table, truth: Truth) -> Doubles:
    """Chance [SHOWN] that a wish at each position becomes a start, relative to the first, over the slates in the events."""
    frame: Any = pl.from_arrow(events.select(COLUMNS))
    row_of = {content_id: row for row, content_id in enumerate(truth.catalogue.frame["content_id"].to_list())}
    number = pl.col("content_id").replace_strict(row_of, return_dtype=pl.Int32)
    plays = (
        frame.filter(pl.col("action") == word(Action.PLAY))
        .sort("event_at", maintain_order=True)
        .select(*_KEY, "event_at", **{f"last_{n}": number.shift(n).over(_KEY) for n in range(FOLLOWED)})
    )
    shown = frame.filter(pl.col("action") == word(Action.IMPRESSION)).with_columns(number=number)
    slates = (
        shown.group_by([*_KEY, "recommendation_id"], maintain_order=True)
        .agg(pl.col("event_at").min(), "number", "position")
        .sort("event_at")
        .join_asof(plays, on="event_at", by=_KEY, check_sortedness=False)
    )
    items = np.full((len(slates), SHOWN), NO_ITEM, np.int32)
    slate = np.repeat(np.arange(len(slates)), slates["number"].list.len().to_numpy())
    items[slate, slates["position"].explode().to_numpy()] = slates["number"].explode().to_numpy()
    last = np.stack([slates[f"last_{n}"].fill_null(NO_ITEM).to_numpy() for n in range(FOLLOWED)], axis=1)
    who = np.array([truth.row_of[ProfileKey(*key)] for key in slates.select(_KEY).iter_rows()], np.int32)
    return chances(truth.p_start(who, items, last.astype(np.int32)))


def chances(wished: Floats) -> Doubles:
    """Chance [n] that a title which would be started once looked at is started, by position, relative to the first.

    `wished` [m, n]: chances to start once looked at. A viewer who has started `MOST_PLAYS` titles has left.
    """
    m, n = wished.shape
    by_plays = np.zeros((m, MOST_PLAYS))
    by_plays[:, 0] = 1.0
    found = np.empty(n)
    for position in range(n):
        own = np.exp(-EXAMINED_DECAY * position) * wished[:, position].astype(np.float64)
        found[position] = (own * by_plays.sum(axis=1)).sum() / wished[:, position].sum()
        begun = by_plays * own[:, None]
        by_plays -= begun
        by_plays[:, 1:] += begun[:, :-1]
    return found / found[0]


@dataclass(frozen=True, slots=True)
class Judged:
    """Figures [n_requests] of one ranker on the test period."""

    planted_ndcg: Doubles
    planted_chance: Doubles
    logged_ndcg: Doubles
    weighed: Doubles

    def means(self) -> dict[str, float]:
        weighed = float(self.logged_ndcg @ self.weighed / self.weighed.sum())
        found = {name: float(getattr(self, name).mean()) for name in ("planted_ndcg", "planted_chance", "logged_ndcg")}
        return {name: round(value, 5) for name, value in (found | {"weighed_ndcg": weighed}).items()}


def measure(history: History, truth: Truth, seeds: Sequence[int], settings: Settings, say: Say) -> dict[str, Any]:
    """Chances of positions, and every ranker at every bound, as JSON values. Ray must be running.

    Raises:
        DataError: the set has too little to make examples of.
    """
    settings = settings.model_copy(update={"examples": settings.examples.model_copy(update={"most_start_weight": max(BOUNDS)})})
    periods = history.periods
    events = Lake(settings.lake_dir).events(history.name, end_s=periods.rankers_end_s, columns=COLUMNS)
    seen = looked(events, truth, settings.training.seed)
    say(f"chances of positions: {', '.join(f'{chance:.3f}' for chance in seen.examination.position)}")
    early = fit_sources(history, periods.sources_end_s, settings, say)
    drawn = draw_examples(history, early, settings, say)
    rankers = _fitted(drawn, early.items, seeds, settings, say)
    late = fit_sources(history, periods.validation_end_s, settings, say, early)
    files = to_bytes(late.items, history.titles, late.sources, {})
    bundle = from_bytes("bias", facts(data={"simulated": history.manifest.get("simulated", [])}), files)
    judged = _judged(unrestricted_bundle(bundle), rankers, drawn.moments[TEST], Planted(history, truth, seen.planted), settings)
    weights = examples_file.load(drawn.examples_dir / TRAIN)
    started = weights.labels[:, :, Objective.START] == 1
    return {
        "protocol": PROTOCOL,
        "confidence": CONFIDENCE,
        **seen.facts(),
        "examples": len(weights),
        "mean_start_weight": {
            f"{most:g}": round(float(np.minimum(weights.weight[started], most).mean()), 4) for most in BOUNDS
        },
        "requests": len(drawn.moments[TEST]),
        "seeds": list(seeds),
        "models": _compared(judged, seeds, settings.training.seed),
    }


Arm = tuple[str, float, int]
"""Name of a ranker, bound of the weights, seed."""


def _fitted(drawn: Drawn, items: Any, seeds: Sequence[int], settings: Settings, say: Say) -> dict[Arm, Ranker]:
    train, validation = (examples_file.load(drawn.examples_dir / name, mmap=False) for name in (TRAIN, VALIDATION))
    found: dict[Arm, Ranker] = {}
    for most in BOUNDS:
        given = [_bounded(examples, most) for examples in (train, validation)]
        for seed in seeds:
            found["deep", most, seed] = deep.fit(
                given[0], given[1], items, settings.deep, seed=seed, device="cpu", report=lambda figures: None
            )
            found["boosted", most, seed] = boosted.fit(
                given[0], given[1], items, settings.boosted, seed=seed, report=lambda figures: None
            )
            say(f"fitted rankers with weights up to {most:g}, seed {seed}")
    return found


def _bounded(examples: Examples, most: float) -> Examples:
    return replace(examples, weight=np.minimum(examples.weight, np.float32(most)))


@dataclass(frozen=True, slots=True)
class Planted:
    """The world's truth, asked with a history's title numbers."""

    history: History
    truth: Truth
    chances: Doubles

    def p_start(self, batch: Sequence[Moment], items: Ints, watched: Ints) -> Floats:
        """Chance [B, K] that whoever asks starts each title once it is looked at; `watched` [B, n] newest first."""
        row_of = {content_id: row for row, content_id in enumerate(self.truth.catalogue.frame["content_id"].to_list())}
        rows = np.array([*(row_of[content_id] for content_id in self.history.titles["content_id"].to_pylist()), NO_ITEM])
        who = np.array([self.truth.row_of[moment.key] for moment in batch], np.int32)
        return self.truth.p_start(who, rows[items].astype(np.int32), rows[watched[:, :FOLLOWED]].astype(np.int32))

    def weights(self, batch: Sequence[Moment]) -> Doubles:
        """1 / planted chance [B] of the place that each request's first target was started from."""
        positions = np.array([moment.places[0, 1] for moment in batch])
        return np.where(positions < 0, 1.0, 1 / self.chances[positions])


def _judged(
    bundle: Bundle, rankers: Mapping[Arm, Ranker], moments: Sequence[Moment], planted: Planted, settings: Settings
) -> dict[Arm, Judged]:
    """Every ranker's order of the same candidates."""
    known, k = settings_of(planted.history.profiles), settings.evaluation.k
    stage = CandidateStage(bundle.items, bundle.text, bundle.sources, settings.sources)
    parts: dict[Arm, list[Judged]] = {arm: [] for arm in rankers}
    with threadpool_limits(1):
        for start in range(0, len(moments), _BATCH):
            batch = moments[start : start + _BATCH]
            requests, profiles = asked(batch, [known.get(moment.key, ProfileSettings()) for moment in batch], k)
            given = ranker_input(requests, profiles, bundle.items, stage.generate(requests, profiles), N_HISTORY)
            chance = planted.p_start(batch, given.items, profiles.history)
            for arm, ranker in rankers.items():
                p = np.where(given.items >= 0, ranker.predict(given)[:, :, Objective.START], -1.0)
                order = np.argsort(-p, axis=1, kind="stable")[:, :k]
                parts[arm].append(_figures(order, given.items, chance, batch, planted.weights(batch)))
    names = ("planted_ndcg", "planted_chance", "logged_ndcg", "weighed")
    return {arm: Judged(*(np.concatenate([getattr(one, name) for one in own]) for name in names)) for arm, own in parts.items()}


def _figures(order: Longs, items: Ints, chance: Floats, batch: Sequence[Moment], weighed: Doubles) -> Judged:
    """Figures of lists of k, given as places [B, k] among the candidates [B, K]."""
    k = order.shape[1]
    discount = 1 / np.log2(np.arange(k) + 2)
    got, best = np.take_along_axis(chance, order, axis=1), -np.sort(-chance, axis=1)[:, :k]
    lists = np.take_along_axis(items, order, axis=1)
    logged = ndcg_at(lists, [moment.targets[:1] for moment in batch], k)
    return Judged((got @ discount) / (best @ discount), got.mean(axis=1).astype(np.float64), logged, weighed)


def _compared(judged: Mapping[Arm, Judged], seeds: Sequence[int], seed: int) -> list[dict[str, Any]]:
    """A row per ranker and bound: means over seeds, and the gain over the first bound."""
    rows = []
    for name in ("deep", "boosted"):
        plain = np.mean([judged[name, BOUNDS[0], own].planted_ndcg for own in seeds], axis=0)
        for most in BOUNDS:
            own = [judged[name, most, each] for each in seeds]
            gain = np.mean([one.planted_ndcg for one in own], axis=0) - plain
            between = bootstrap(gain[:, None], lambda means: means[:, 0], CONFIDENCE, N_RESAMPLES, np.random.default_rng(seed))
            means = [one.means() for one in own]
            row = {metric: round(float(np.mean([one[metric] for one in means])), 5) for metric in means[0]}
            by_seed = [one["planted_ndcg"] for one in means]
            rows.append(
                {"ranker": name, "most_start_weight": most, **row, "by_seed": by_seed}
                | {"gain": round(between.estimate, 5), "low": round(between.low, 5), "high": round(between.high, 5)}
            )
    return rows

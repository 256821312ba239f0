"""What the slate's business weights and priorities do to lists, by what followed in the log for the titles on them.

Each point is compared with the settings' own weights, request by request; a default is chosen by the earlier half of the
requests and confirmed by the later.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from recray.bundle import Bundle
from recray.data.replay import Moment
from recray.evaluation.beyond import coverage_at
from recray.evaluation.metrics import ndcg_at
from recray.experiments.interval import Doubles, resampled_means
from recray.features.items import LONG_AGO, Items
from recray.ranking.slate import amount
from recray.schema import NO_ITEM, Bools, Ints, Objective, ProfileKey, ProfileSettings
from recray.settings import Settings
from recray.training.curves import Say
from recray.training.ways import Way, halves, lists_by

Group = Literal["licensed", "recent"]

CONFIDENCE: Final = 0.95
N_RESAMPLES: Final = 1_000
STRENGTHS: Final = (0.3, 1.0, 3.0)
FACTORS: Final = (1.1, 1.25, 1.5)
_TENTH: Final = 10
_MINUTE_S: Final = 60
PROTOCOL: Final = (
    "Replayed requests of the bundle's last period, evenly over time, their state folded from what was before; watched "
    "titles are excluded. Lists of k by the chosen ranker through the path that serves; the weights or the priorities alone "
    "change. ndcg is that of the title started next. What followed in the log are the next titles that the viewer started, "
    "up to the horizon of the draw: starts, completions and dislikes are how many of them, per request, are on the list and "
    "were started, completed (of rated titles without delivery facts: liked) and disliked; completed_minutes is the running "
    "time of the completed, where it is known, and watched_minutes of all what was watched of it; the rates are per start on "
    "the list; value is starts, completions, dislikes and hours watched under the settings' own weights. Shares are of "
    "places held by a tenth of the catalogue drawn by its ids "
    "(licensed) and by the newest tenth by release (recent). difference is from the settings' own weights, with a paired 95 "
    "% bootstrap interval over requests. The log has no propensities, so this is replay matching: it shows which of the "
    "titles that viewers found by themselves a list would have offered, and what they thought of them. It cannot show "
    "starts that a list would have caused: a title on a list that the viewer did not start counts as nothing, whether it "
    "was seen or not, which favours whatever the viewers chose by. A rate is of viewers who chose the title themselves."
)


@dataclass(slots=True, frozen=True)
class Point:
    """Weights by objective, 0 where none is named, and a factor on the priority of a group of titles."""

    varied: str
    weights: Mapping[str, float]
    group: Group | None = None
    factor: float = 1.0

    def way(self, items: Items, groups: Mapping[Group, Bools]) -> Way:
        """How slates are made at this point."""
        slate = {"weights": {objective.name.lower(): 0.0 for objective in Objective} | dict(self.weights)}
        if self.group is None:
            return Way(slate)
        return Way(slate, np.where(groups[self.group], np.float32(self.factor), np.float32(1)) * items.priority)


@dataclass(slots=True, frozen=True)
class Followed:
    """What the log says after each of n requests, of up to h titles.

    `titles` [n, h] distinct and padded with NO_ITEM, `outcomes` [n, h, n_objectives] 1, 0 or NaN where unknown, and
    on padding.
    """

    titles: Ints
    outcomes: Doubles
    first: list[Ints] = field(repr=False)

    @classmethod
    def of(cls, moments: Sequence[Moment]) -> "Followed":
        """Side by side, in the order of the moments."""
        width = max((moment.targets.size for moment in moments), default=0)
        titles = np.full((len(moments), width), NO_ITEM, np.int32)
        outcomes = np.full((len(moments), width, len(Objective)), np.nan)
        for row, moment in enumerate(moments):
            titles[row, : moment.targets.size] = moment.targets
            outcomes[row, : moment.targets.size] = moment.outcomes
        return cls(titles, outcomes, [moment.targets[:1] for moment in moments])


def points_of(weights: Mapping[str, float], observed: Collection[Objective] = tuple(Objective)) -> list[Point]:
    """Every point, first the settings' own weights: start alone, each observed objective by itself, two, and priorities."""
    signs = {Objective.COMPLETION: 1, Objective.DISLIKE: -1, Objective.WATCH_TIME: 1}
    named = [(objective.name.lower(), sign) for objective, sign in signs.items() if objective in observed]
    alone = [Point(name, {"start": 1.0, name: sign * strength}) for name, sign in named for strength in STRENGTHS]
    both = [Point("both", {"start": 1.0, "completion": strength, "dislike": -strength}) for strength in STRENGTHS]
    groups: tuple[Group, ...] = ("licensed", "recent")
    lifted = [Point(f"priority of {group}", weights, group, factor) for group in groups for factor in FACTORS]
    return [Point("default", weights), Point("start alone", {"start": 1.0}), *alone, *both, *lifted]


def groups_of(items: Items) -> dict[Group, Bools]:
    """The titles [n] that priorities lift: a tenth drawn by the digest of its id, and the newest tenth by release."""
    drawn = np.array([zlib.crc32(content_id.encode()) % _TENTH == 0 for content_id in items.content_ids], np.bool_)
    known = items.release_at_s > LONG_AGO
    since = np.quantile(items.release_at_s[known], 1 - 1 / _TENTH) if known.any() else np.inf
    return {"licensed": drawn, "recent": items.release_at_s >= since}


def weighed(
    bundle: Bundle,
    moments: Sequence[Moment],
    profiles: Mapping[ProfileKey, ProfileSettings],
    settings: Settings,
    say: Say,
) -> dict[str, Any]:
    """Figures of every point over all requests and over each half, as JSON values; the first point is the settings' own."""
    followed, groups = Followed.of(moments), groups_of(bundle.items)
    observed = [objective for objective in Objective if np.isfinite(followed.outcomes[:, :, objective]).any()]
    points = points_of(settings.slate.weights, observed)
    ways = [point.way(bundle.items, groups) for point in points]
    lists, _ = lists_by(ways, bundle, moments, profiles, settings)
    say(f"asked {len(moments)} requests at {len(points)} points")
    found = figures_by(lists, followed, bundle.items, groups, settings)
    rows = [
        {"varied": point.varied, "weights": dict(point.weights), "group": point.group, "factor": point.factor} | figures
        for point, figures in zip(points, found, strict=True)
    ]
    return {
        "bundle": bundle.id,
        "ranker": bundle.manifest["chosen"],
        "k": settings.evaluation.k,
        "requests": len(moments),
        "protocol": PROTOCOL,
        "groups": {name: int(members.sum()) for name, members in groups.items()},
        "points": rows,
    }


def figures_by(
    lists: Sequence[Ints], followed: Followed, items: Items, groups: Mapping[Group, Bools], settings: Settings
) -> list[dict[str, Any]]:
    """Figures of some ways' lists [n, k] by the halves of the requests, each also as it differs from the first way's."""
    columns = [_columns(ranked, followed, items, groups, settings) for ranked in lists]
    return [
        {
            name: _figures(own, columns[0], at, settings.training.seed)
            | {"coverage": round(coverage_at(ranked[at], items.n, ranked.shape[1]), 6)}
            for name, at in halves(len(ranked)).items()
        }
        for own, ranked in zip(columns, lists, strict=True)
    ]


def _columns(
    ranked: Ints, followed: Followed, items: Items, groups: Mapping[Group, Bools], settings: Settings
) -> dict[str, Doubles]:
    """What is averaged over requests, [n] float64 each."""
    listed = (followed.titles[:, :, None] == ranked[:, None, :]).any(axis=2)
    outcomes = np.where(listed[:, :, None], np.nan_to_num(followed.outcomes), 0.0)
    start, completed, disliked, watched = (outcomes[:, :, objective] for objective in Objective)
    minutes = np.nan_to_num(items.duration_s[followed.titles] / _MINUTE_S)
    weights = settings.slate.weights
    places = np.maximum((ranked != NO_ITEM).sum(axis=1), 1)
    found = {
        "ndcg": ndcg_at(ranked, followed.first, ranked.shape[1]),
        "starts": start.sum(axis=1),
        "completions": completed.sum(axis=1),
        "dislikes": disliked.sum(axis=1),
        "completed_minutes": np.where(completed > 0, minutes, 0.0).sum(axis=1),
        "watched_minutes": (watched * minutes).sum(axis=1),
        "value": sum(
            weights.get(o.name.lower(), 0.0) * amount(outcomes[:, :, o], o, items, followed.titles).sum(axis=1)
            for o in Objective
        ),
    }
    shares = {f"share_{name}": (members[ranked] & (ranked != NO_ITEM)).sum(axis=1) / places for name, members in groups.items()}
    return found | shares


_RATES: Final = {"completion_rate": "completions", "dislike_rate": "dislikes"}


def _figures(own: Mapping[str, Doubles], default: Mapping[str, Doubles], at: slice, seed: int) -> dict[str, Any]:
    """Means and rates of some requests, and how they differ from the default's on the same ones."""
    both = np.stack([columns[name][at] for columns in (own, default) for name in own], axis=1)
    place = {name: number for number, name in enumerate(own)}
    width = len(place)

    def rate(name: str, means: Doubles, shift: int) -> Doubles:
        if name not in _RATES:
            return means[:, place[name] + shift]
        below = means[:, place["starts"] + shift]
        return np.divide(means[:, place[_RATES[name]] + shift], below, out=np.full(len(below), np.nan), where=below > 0)

    whole = both.mean(axis=0, keepdims=True)
    drawn = resampled_means(both, N_RESAMPLES, np.random.default_rng(seed))
    figures: dict[str, Any] = {}
    difference: dict[str, dict[str, float]] = {}
    for name in (*place, *_RATES):
        apart = [rate(name, means, 0) - rate(name, means, width) for means in (whole, drawn)]
        bounds = np.quantile(apart[1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        figures[name] = round(float(rate(name, whole, 0)[0]), 6)
        found = {"estimate": apart[0][0], "low": bounds[0], "high": bounds[1]}
        difference[name] = {bound: round(float(value), 6) for bound, value in found.items()}
    return figures | {"difference": difference}

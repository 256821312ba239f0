"""What everyone watches: popular titles, titles on the rise, and new releases, by region where the region is known."""

from typing import Any, ClassVar, Final, Self

import numpy as np

from recray.candidates import kernels
from recray.candidates.history import last_of_each
from recray.candidates.source import Ask, filled, room
from recray.features.compiled import held
from recray.features.interactions import Interactions
from recray.features.items import LONG_AGO, Items
from recray.schema import NO_ITEM, Floats, Retrieved, Tensors
from recray.settings import SourceSettings

_DAY_S: Final = 86_400.0
_PRIOR_WATCHES: Final = 20.0
"""Pseudo-watches spread as the whole world watches, added to each region's counts: small regions lean on the world."""


class _Ordered:
    """Titles in one fixed order for the world (row 0) and for each region; a request reads off the first k eligible."""

    name: ClassVar[str]

    def __init__(self, scores: Floats, region_names: list[str]) -> None:
        """Take scores [1 + n_regions, n_items] float32; -inf is never proposed, a region of -inf alone reads as the world."""
        self._scores = scores
        self._region_names = region_names
        order = np.argsort(-scores, axis=1, kind="stable").astype(np.int32)
        length = np.count_nonzero(scores > -np.inf, axis=1)
        self._order = np.where(np.arange(scores.shape[1]) < length[:, None], order, NO_ITEM).astype(np.int32)
        self._row_of = {name: row for row, name in enumerate(region_names, start=1) if length[row]}

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles where the request comes from; an unknown region gets the world's."""
        settings = ask.profiles.settings
        regions = [region or settings[row].country or "" for row, region in enumerate(ask.requests.region)]
        line = np.array([self._row_of.get(region, 0) for region in regions], np.int64)
        items, scores = room(len(line), min(k, ask.eligible.shape[1]))
        kernels.first(self._order, line, held(ask.eligible, np.bool_), items)
        return filled(items, np.where(items >= 0, self._scores[line[:, None], items], scores))

    def tensors(self) -> Tensors:
        return {"scores": self._scores}

    def config(self) -> dict[str, Any]:
        return {"region_names": self._region_names}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["scores"], list(config["region_names"]))


class Popular(_Ordered):
    """Most watched, an old watch counting less; every title has a place, so it can fill any slate."""

    name = "popular"


class Trending(_Ordered):
    """Watched more of late than the longer run makes expect."""

    name = "trending"


class NewReleases(_Ordered):
    """Released or added lately, most watched for its time on offer first; then the newest of the older ones."""

    name = "new_releases"


def fit_popular(interactions: Interactions, items: Items, config: SourceSettings) -> Popular:
    """Decayed watches as of `items.as_of_s`, one per profile and title."""
    counts = _decayed(interactions, items, config.popularity_half_life_days)
    world = counts[:1] / max(float(counts[0].sum()), 1e-9)
    counts[1:] = np.where(counts[1:].any(axis=1, keepdims=True), counts[1:] + _PRIOR_WATCHES * world, -np.inf)
    return Popular(counts, list(items.region_names))


def fit_trending(interactions: Interactions, items: Items, config: SourceSettings) -> Trending:
    """Recent watches less those expected from the title's longer-run share, in standard deviations of a Poisson count.

    Shares, not rates, so that a quiet or busy week of the whole service lifts no title. Only titles above expectation.
    """
    recent = _decayed(interactions, items, config.trending_half_life_days)
    longer = _decayed(interactions, items, config.popularity_half_life_days)
    share = longer / np.maximum(longer.sum(axis=1, keepdims=True), 1e-9)
    expected = share * recent.sum(axis=1, keepdims=True)
    rise = (recent - expected) / np.sqrt(expected + 1)
    return Trending(np.where(rise > 0, rise, -np.inf).astype(np.float32), list(items.region_names))


def fit_new_releases(interactions: Interactions, items: Items, config: SourceSettings) -> NewReleases:
    """Watches per day on offer, smoothed by the mean of new titles, above 1; titles too old for new get a score below 1.

    A title's age counts from its release or its arrival in the catalogue, whichever came last; without both it is left out.
    """
    began_s = np.maximum(items.release_at_s, items.added_at_s)
    known = began_s != LONG_AGO
    age_days = np.where(known, np.maximum(items.as_of_s - np.where(known, began_s, 0), 0) / _DAY_S, np.inf)
    new = age_days <= config.new_release_days
    counts = _decayed(interactions, items, config.popularity_half_life_days)[:1]
    on_offer = _kernel_days(age_days, config.popularity_half_life_days)
    prior_days = _kernel_days(np.array(config.new_release_days), config.popularity_half_life_days) / 4
    typical = float(counts[0, new].sum() / max(on_offer[new].sum(), 1e-9)) if new.any() else 0.0
    rate = (counts + prior_days * typical) / (on_offer + prior_days)
    older = config.new_release_days / np.maximum(age_days, config.new_release_days) - 1e-6
    score = np.where(new, 1 + rate / max(float(rate.max()), 1e-9), older)
    return NewReleases(np.where(known, score, -np.inf).astype(np.float32), [])


def _kernel_days(age_days: Floats, half_life_days: float) -> Floats:
    """Days on offer, each weighted as a watch on that day would be."""
    return half_life_days / np.log(2) * (1 - np.exp2(-age_days / half_life_days))


def _decayed(interactions: Interactions, items: Items, half_life_days: float) -> Floats:
    """Decayed watches [1 + n_regions, n_items] float32: the world, then each region; the newest of each profile and title."""
    kept = interactions.where(last_of_each(interactions))
    age_days = np.maximum(items.as_of_s - kept.at_s, 0) / _DAY_S
    weight = kept.weight * np.exp2(-age_days / half_life_days)
    counts = np.zeros((1 + len(items.region_names), items.n), np.float32)
    counts[0] = np.bincount(kept.item, weight, items.n)
    placed = kept.region >= 0
    flat = kept.region[placed].astype(np.int64) * items.n + kept.item[placed]
    counts[1:] = np.bincount(flat, weight[placed], len(items.region_names) * items.n).reshape(-1, items.n)
    return counts

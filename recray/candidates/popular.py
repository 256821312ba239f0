"""What everyone watches: popular titles, titles on the rise, and new releases, by region where the region is known."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np

from recray.candidates import kernels
from recray.candidates.history import last_of_each
from recray.candidates.live import Live
from recray.candidates.source import Ask, CandidateSource, filled, room
from recray.features.compiled import held
from recray.features.interactions import Interactions
from recray.features.items import LONG_AGO, Items
from recray.schema import NO_ITEM, Floats, Ints, Retrieved, Tensors
from recray.settings import SourceSettings

_DAY_S: Final = 86_400.0
_DAY_H: Final = 24.0
_ROUNDING: Final = 1e-4
"""Deviations that are none: sums of float32 differ by as much."""
_PRIOR_WATCHES: Final = 20.0
"""Pseudo-watches spread as the whole world watches, added to each region's counts: small regions lean on the world."""


class _Ordered:
    """Titles in one fixed order for the world (row 0) and for each region; a request reads off the first k eligible."""

    name: ClassVar[str]

    def __init__(self, scores: Floats, region_names: list[str], near: Ints | None = None) -> None:
        """Take scores [1 + n_regions, n_items] float32; -inf is never proposed, a region of -inf alone reads as the world.

        An order that is `near` the one of the scores saves most of the sorting, and changes nothing else.
        """
        self._scores = scores
        self._region_names = region_names
        self._order = best_first(scores, near)
        self._row_of = {name: row for row, name in enumerate(region_names, start=1) if (self._order[row] >= 0).any()}

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """The best k eligible titles where the request comes from; an unknown region gets the world's."""
        settings = ask.profiles.settings
        regions = [region or settings[row].country or "" for row, region in enumerate(ask.requests.region)]
        line = np.array([self._row_of.get(region, 0) for region in regions], np.int64)
        items, scores = room(len(line), min(k, ask.eligible.shape[1]))
        kernels.first(self._order, line, held(ask.eligible, np.bool_), items)
        return filled(items, np.where(items >= 0, self._scores[line[:, None], items], scores))


class Popular(_Ordered):
    """Most watched, an old watch counting less; every title has a place, so it can fill any slate.

    Score: F x fade + L, with F the decayed watches of the fit, fade what they are worth now, and L the live ones since. In a
    region, some watches as the whole world watches are added.
    """

    name = "popular"

    def __init__(self, counts: Floats, region_names: list[str], half_life_days: float, near: Ints | None = None) -> None:
        super().__init__(_leaning(counts), region_names, near)
        self._counts = counts
        self._half_life_days = half_life_days

    def with_live(self, live: Live) -> Self:
        """The same source as of now."""
        counts = _current(self._counts, self._half_life_days, live)
        return type(self)(counts, self._region_names, self._half_life_days, near=self._order)

    def tensors(self) -> Tensors:
        return {"counts": self._counts}

    def config(self) -> dict[str, Any]:
        return {"region_names": self._region_names, "half_life_days": self._half_life_days}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["counts"], list(config["region_names"]), config["half_life_days"])


class Trending(_Ordered):
    """Watched more of late than the longer run makes expect.

    Score: recent watches less those expected from the title's longer-run share, in standard deviations of a Poisson count; the
    highest over the windows. Shares, not rates, so that a quiet or busy week of the whole service lifts no title; a region's
    lean on the world's. Only titles above expectation. Longer-run watches are F x fade + L as in `Popular`, recent ones
    F x fade + max(L - 1, 0), those of a window of hours max(L - 1, 0): without one account, as none makes a trend alone.
    """

    name = "trending"

    def __init__(
        self, recent: Floats, longer: Floats, region_names: list[str], half_lives_days: tuple[float, float],
        live_only: Sequence[Floats] = (),
    ) -> None:  # fmt: skip
        """Take watches [1 + n_regions, n_items] float32, decayed by the two half lives, and those of windows counted live."""
        share = _share(longer)
        rise = _rise(recent, share)
        for window in live_only:
            np.maximum(rise, _rise(window, share), out=rise)
        super().__init__(np.where(rise > _ROUNDING, rise, -np.inf).astype(np.float32), region_names)
        self._recent, self._longer, self._half_lives_days = recent, longer, half_lives_days

    def with_live(self, live: Live, windows_h: Sequence[float]) -> Self:
        """The same source as of now, with windows of so many hours beside its own."""
        short, long = self._half_lives_days
        recent, longer = _current(self._recent, short, live, without=1), _current(self._longer, long, live)
        windows = [np.maximum(live.watched(hours / _DAY_H, ever=True) - 1, 0) for hours in windows_h]
        return type(self)(recent, longer, self._region_names, self._half_lives_days, windows)

    def tensors(self) -> Tensors:
        return {"recent": self._recent, "longer": self._longer}

    def config(self) -> dict[str, Any]:
        return {"region_names": self._region_names, "half_lives_days": list(self._half_lives_days)}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        short, long = config["half_lives_days"]
        return cls(tensors["recent"], tensors["longer"], list(config["region_names"]), (short, long))


class NewReleases(_Ordered):
    """Released or added lately, most watched for its time on offer first; then the newest of the older ones.

    With live counts a new title's score is watches per account that it was shown to: r = (W + m x t x a) / (S + m), where the
    fitted rate a (mean 1) stands for m accounts and t is the rate of all new titles, plus the deviation of that estimate,
    sqrt(r / (S + m)): who was hardly shown gets a chance. Older titles stay behind.
    """

    name = "new_releases"

    def __init__(self, scores: Floats, half_life_days: float) -> None:
        super().__init__(scores, [])
        self._half_life_days = half_life_days

    def with_live(self, live: Live, prior_shown: float) -> Self:
        """The same source as of now; the fitted rate counts as if each title had been shown to `prior_shown` accounts."""
        new = self._scores[0] >= 1
        if not new.any():
            return self
        appeal = np.where(new, self._scores[0] - 1 + 1e-6, 0)
        appeal /= float(appeal[new].mean())
        watched = np.where(new, live.watched(self._half_life_days)[0], 0)
        shown = np.where(new, live.shown(self._half_life_days), 0)
        typical = (watched.sum() + 1) / (shown.sum() + prior_shown)
        rate = (watched + prior_shown * typical * appeal) / (shown + prior_shown)
        hoped = rate + np.sqrt(rate / (shown + prior_shown))
        scores = np.where(new, 1 + hoped / max(float(hoped.max()), 1e-9), self._scores[0])
        return type(self)(scores[None].astype(np.float32), self._half_life_days)

    def tensors(self) -> Tensors:
        return {"scores": self._scores}

    def config(self) -> dict[str, Any]:
        return {"half_life_days": self._half_life_days}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls(tensors["scores"], config["half_life_days"])


def with_live(
    sources: Mapping[str, CandidateSource], live: Live, windows_h: Sequence[float], prior_shown: float
) -> dict[str, CandidateSource]:
    """A bundle's sources with those of this file as of now; the others, and those the bundle lacks, stay as they are."""
    current = dict(sources)
    for name, source in sources.items():
        match source:
            case Popular():
                current[name] = source.with_live(live)
            case Trending():
                current[name] = source.with_live(live, windows_h)
            case NewReleases():
                current[name] = source.with_live(live, prior_shown)
    return current


def fit_popular(interactions: Interactions, items: Items, config: SourceSettings) -> Popular:
    """Decayed watches as of `items.as_of_s`, one per profile and title."""
    half_life_days = config.popularity_half_life_days
    return Popular(_decayed(interactions, items, half_life_days), list(items.region_names), half_life_days)


def fit_trending(interactions: Interactions, items: Items, config: SourceSettings) -> Trending:
    """Watches decayed by both half lives as of `items.as_of_s`, one per profile and title."""
    half_lives_days = config.trending_half_life_days, config.popularity_half_life_days
    recent, longer = (_decayed(interactions, items, days) for days in half_lives_days)
    return Trending(recent, longer, list(items.region_names), half_lives_days)


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
    return NewReleases(np.where(known, score, -np.inf).astype(np.float32), config.popularity_half_life_days)


def best_first(scores: Floats, near: Ints | None = None) -> Ints:
    """Titles by descending score, ties by lower number [rows, n_items], NO_ITEM in place of those at -inf; no NaN.

    Score and number sort as one word, much faster than a stable sort of scores, and faster still when most are in order.
    """
    order = np.full(scores.shape, NO_ITEM, np.int32)
    for row, line in enumerate(scores):
        number = np.arange(line.size) if near is None or near[row, -1] < 0 else near[row]
        number = number[line[number] > -np.inf]
        bits = (line[number] + np.float32(0)).view(np.int32)
        rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
        key = (-rising << 32) + number
        key.sort(kind=None if near is None else "stable")
        order[row, : key.size] = key & 0xFFFFFFFF
    return order


def _leaning(counts: Floats) -> Floats:
    """Counts whose regions lean on the world; a region without any is -inf."""
    world = counts[:1] / max(float(counts[0].sum()), 1e-9)
    known = counts[1:].any(axis=1, keepdims=True)
    return np.concatenate((counts[:1], np.where(known, counts[1:] + _PRIOR_WATCHES * world, -np.inf)), dtype=np.float32)


def _share(longer: Floats) -> Floats:
    leaning = longer + _PRIOR_WATCHES * longer[:1] / max(float(longer[0].sum()), 1e-9)
    return leaning / np.maximum(leaning.sum(axis=1, keepdims=True), 1e-9)


def _rise(recent: Floats, share: Floats) -> Floats:
    expected = share * recent.sum(axis=1, keepdims=True)
    return (recent - expected) / np.sqrt(expected + 1)


def _current(fitted: Floats, half_life_days: float, live: Live, without: float = 0.0) -> Floats:
    """Fitted counts as of now and what was counted since, `without` so many accounts."""
    return fitted * np.float32(live.fade(half_life_days)) + np.maximum(live.watched(half_life_days) - without, 0)


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

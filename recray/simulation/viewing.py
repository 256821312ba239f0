"""The synthetic viewers' choices: sessions in which titles are shown, some are started, and some of those finished or rated.

Profiles act in rounds: round k is every profile's k-th session, so that what a viewer has just watched moves what comes next
while each round stays one pass over arrays.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recray.schema import NO_ITEM, Action, Bools, Device, Floats, Ints, Longs
from recray.simulation.titles import DAY_S, Catalogue

SHOWN: Final = 6
"""Titles on the first screen of a session: each is logged as an impression at its position."""
_POOL: Final = 12
"""Titles considered from each of: what everybody watches, the profile's tastes, what is new."""
_REMEMBERED: Final = 48
FOLLOWED: Final = 3
"""Titles watched last of which the next part is wanted."""
_TASTE_PULL: Final = 4.0
_APPEAL_PULL: Final = 0.4
_NOVELTY: Final = 1.2
_NOVELTY_DAYS: Final = 21.0
_SUCCESSOR_PULL: Final = 4.5
_PLATFORM_NOISE: Final = 0.8
_START_BIAS: Final = -1.6
EXAMINED_DECAY: Final = 0.22
"""Chance to look at position p is exp(-0.22 p): the position bias of the log."""
_FINISHED: Final = 0.9
_PAUSE_S: Final = 20
MOST_PLAYS: Final = 2
"""A viewer who has started so many titles of a screen looks at no further one."""


@dataclass(slots=True, frozen=True)
class Viewers:
    """Profiles as the model sees them: `vector` [n, 16] float32 latent taste, `tastes` [n, 3] int32 clusters, `region` int32,
    `maturity_limit` int32, `joined_s` int64, `eagerness` float32 (how much is started).
    """

    vector: Floats
    tastes: Ints
    region: Ints
    maturity_limit: Ints
    joined_s: Longs
    eagerness: Floats


@dataclass(slots=True)
class Log:
    """Events as columns, in no particular order; `session` numbers the answer that they belong to."""

    profile: list[Ints] = field(default_factory=list)
    item: list[Ints] = field(default_factory=list)
    action: list[Ints] = field(default_factory=list)
    at_s: list[Longs] = field(default_factory=list)
    session: list[Longs] = field(default_factory=list)
    position: list[Ints] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)
    progress: list[Floats] = field(default_factory=list)
    device: list[Ints] = field(default_factory=list)

    def write(self, visit: "Visit", position: int, action: Action, rows: Bools, at_s: Longs, **measured: Floats) -> None:
        """Add an event of each visit in `rows` [m] bool about the title at a position; `measured`: value, progress [m]."""
        n = int(rows.sum())
        if not n:
            return
        self.profile.append(visit.who[rows])
        self.item.append(visit.shown[rows, position])
        self.action.append(np.full(n, action, np.int32))
        self.at_s.append(at_s[rows])
        self.session.append(visit.number[rows])
        self.position.append(np.full(n, position, np.int32))
        self.device.append(visit.device[rows])
        for name in ("value", "progress"):
            getattr(self, name).append(measured[name][rows] if name in measured else np.full(n, np.nan, np.float32))

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Each column as one array."""
        return {name: np.concatenate(getattr(self, name)) for name in self.__slots__}


@dataclass(slots=True, frozen=True)
class Visit:
    """One round: a session of each of m profiles, and its first screen `shown` [m, SHOWN] int32."""

    who: Ints
    at_s: Longs
    shown: Ints
    number: Longs
    device: Ints


@dataclass(slots=True, frozen=True)
class Sessions:
    """When who opens the service: parallel arrays sorted by (profile, time); `number` is unique."""

    profile: Ints
    at_s: Longs
    device: Ints
    number: Longs


def schedule(viewers: Viewers, n_sessions: int, window_s: tuple[int, int], generator: np.random.Generator) -> Sessions:
    """Sessions of profiles that differ widely in activity, after each joined, mostly in the evening."""
    start_s, end_s = window_s
    activity = generator.lognormal(0.0, 0.9, len(viewers.joined_s))
    activity *= (end_s - np.maximum(viewers.joined_s, start_s)) / (end_s - start_s)
    extra = generator.multinomial(max(n_sessions - len(activity), 0), activity / activity.sum())
    profile = np.repeat(np.arange(len(activity)), extra + 1)[: max(n_sessions, 1)]
    from_s = np.maximum(viewers.joined_s, start_s)[profile]
    day = from_s // DAY_S + (generator.random(len(profile)) * np.maximum((end_s - from_s) // DAY_S, 1)).astype(np.int64)
    by_hour = np.where(np.arange(24) >= 18, 4.0, np.where(np.arange(24) >= 7, 1.5, 0.3))
    hour = generator.choice(24, len(profile), p=by_hour / by_hour.sum())
    at_s = np.minimum(np.maximum(day * DAY_S + hour * 3600 + generator.integers(0, 3600, len(profile)), from_s), end_s - 1)
    evening = hour >= 18
    chances = np.where(evening[:, None], [0.03, 0.68, 0.2, 0.09], [0.04, 0.24, 0.44, 0.28])
    device = (generator.random((len(profile), 1)) >= np.cumsum(chances, axis=1)).sum(axis=1).clip(0, len(Device) - 1)
    order = np.lexsort((at_s, profile))
    return Sessions(
        profile[order].astype(np.int32), at_s[order], device[order].astype(np.int32), np.arange(len(profile), dtype=np.int64)
    )


def watch(catalogue: Catalogue, viewers: Viewers, sessions: Sessions, licensed: Bools, generator: np.random.Generator) -> Log:
    """Play every session; `licensed` [n_regions, n_titles] bool says what may be shown where.

    A title is shown only in a region that has it, after it was added, and to profiles that may see it.
    """
    audience = _Audience(catalogue, viewers, licensed, generator)
    starts = np.searchsorted(sessions.profile, np.arange(len(viewers.joined_s)))
    turn = np.arange(len(sessions.profile)) - starts[sessions.profile]
    for number in range(int(turn.max()) + 1):
        rows = np.flatnonzero(turn == number)
        audience.visit(sessions.profile[rows], sessions.at_s[rows], sessions.number[rows], sessions.device[rows])
    return audience.log


class _Shelves:
    """Where candidates are drawn from: everybody's favourites, each taste's, and the latest."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        weight = np.exp(catalogue.appeal.astype(np.float64))
        self.popular = np.cumsum(weight)
        self.by_taste = [np.flatnonzero(catalogue.taste == taste) for taste in range(len(catalogue.taste_vector))]
        self.taste_edges = [np.cumsum(weight[members]) for members in self.by_taste]
        self.by_added = np.argsort(catalogue.added_at_s, kind="stable")
        self.added_s = catalogue.added_at_s[self.by_added]

    def draw(self, tastes: Ints, at_s: Longs, generator: np.random.Generator) -> Ints:
        """Candidates [m, 3 * _POOL] int32, with repeats."""
        m = len(at_s)
        popular = _weighted(self.popular, generator.random((m, _POOL)))
        fit = np.empty((m, _POOL), np.int64)
        wanted = np.take_along_axis(tastes, generator.integers(0, tastes.shape[1], (m, _POOL)), axis=1)
        for taste, members in enumerate(self.by_taste):
            here = wanted == taste
            n = int(here.sum())
            fit[here] = members[_weighted(self.taste_edges[taste], generator.random(n))] if len(members) else popular[here]
        newest = np.searchsorted(self.added_s, at_s, side="right")
        back = generator.exponential(max(len(self.by_added) / 100, 2.0), (m, _POOL)).astype(np.int64)
        new = self.by_added[np.maximum(newest[:, None] - 1 - back, 0)]
        return np.concatenate([popular, fit, new], axis=1).astype(np.int32)


def _weighted(edges: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum(np.searchsorted(edges, uniform * edges[-1], side="right"), len(edges) - 1)


def p_start(viewers: Viewers, who: Ints, affinity: Floats, follows: Bools) -> Floats:
    """Chance [m, k] that each viewer starts a title that they look at, wherever it stands.

    `affinity` [m, k] of viewer and title, `follows` [m, k] bool whether it is the next part of what was watched last.
    """
    wish = _START_BIAS + viewers.eagerness[who][:, None] + 3.0 * affinity + 2.2 * follows
    return 1 / (1 + np.exp(-wish))


def affinities(catalogue: Catalogue, viewers: Viewers, who: Ints, items: Ints) -> Floats:
    """Cosine [m, k] of viewers' tastes and titles; that of NO_ITEM means nothing."""
    return np.einsum("md,mkd->mk", viewers.vector[who], catalogue.vector[items]).astype(np.float32)


class _Audience:
    """All viewers between rounds: what each watched of late (newest first) and when each is free again."""

    def __init__(self, catalogue: Catalogue, viewers: Viewers, licensed: Bools, generator: np.random.Generator) -> None:
        self.log = Log()
        self._catalogue = catalogue
        self._viewers = viewers
        self._licensed = licensed
        self._generator = generator
        self._shelves = _Shelves(catalogue)
        self._recent = np.full((len(viewers.joined_s), _REMEMBERED), NO_ITEM, np.int32)
        self._free_s = np.zeros(len(viewers.joined_s), np.int64)

    def visit(self, who: Ints, at_s: Longs, number: Longs, device: Ints) -> None:
        """One session of each of these profiles, which are distinct."""
        at_s = np.maximum(at_s, self._free_s[who] + _PAUSE_S)
        following = self._following(who)
        visit = Visit(who, at_s, self._shown(who, at_s, following), number, device)
        affinity = affinities(self._catalogue, self._viewers, who, visit.shown)
        self._free_s[who] = self._act(visit, affinity, is_among(visit.shown, following))

    def _following(self, who: Ints) -> Ints:
        """The next parts [m, FOLLOWED] of what was watched last, or NO_ITEM."""
        return next_parts(self._catalogue, self._recent[who, :FOLLOWED])

    def _shown(self, who: Ints, at_s: Longs, following: Ints) -> Ints:
        """The first screen [m, SHOWN] int32 padded with NO_ITEM, best first as a noisy platform orders it."""
        catalogue, viewers = self._catalogue, self._viewers
        drawn = self._shelves.draw(viewers.tastes[who], at_s, self._generator)
        pool = np.sort(np.concatenate([following, drawn], axis=1), axis=1)
        pool[:, 1:][pool[:, 1:] == pool[:, :-1]] = NO_ITEM
        allowed = (pool >= 0) & self._licensed[viewers.region[who][:, None], pool]
        allowed &= catalogue.added_at_s[pool] <= at_s[:, None]
        allowed &= catalogue.maturity[pool] <= viewers.maturity_limit[who][:, None]
        allowed &= ~is_among(pool, self._recent[who])
        age_days = np.maximum(at_s[:, None] - catalogue.added_at_s[pool], 0) / DAY_S
        utility = _TASTE_PULL * affinities(catalogue, viewers, who, pool) + _APPEAL_PULL * catalogue.appeal[pool]
        utility += _NOVELTY * np.exp(-age_days / _NOVELTY_DAYS) + _SUCCESSOR_PULL * is_among(pool, following)
        utility += self._generator.gumbel(0, _PLATFORM_NOISE, pool.shape)
        utility[~allowed] = -np.inf
        best = np.argsort(-utility, axis=1, kind="stable")[:, :SHOWN]
        shown = np.where(np.take_along_axis(allowed, best, axis=1), np.take_along_axis(pool, best, axis=1), NO_ITEM)
        return shown.astype(np.int32)

    def _act(self, visit: Visit, affinity: Floats, follows: Bools) -> Longs:
        """Log what the viewers do with their screens and remember what they watch; returns when each leaves [m] int64."""
        shape = visit.shown.shape
        there = visit.shown >= 0
        examined = there & (self._generator.random(shape) < np.exp(-EXAMINED_DECAY * np.arange(SHOWN)))
        starts = examined & (self._generator.random(shape) < p_start(self._viewers, visit.who, affinity, follows))
        starts &= np.cumsum(starts, axis=1) <= MOST_PLAYS
        for position in range(SHOWN):
            self.log.write(visit, position, Action.IMPRESSION, there[:, position], visit.at_s + position)
        now_s = visit.at_s + SHOWN
        for position in range(SHOWN):
            playing, liking = starts[:, position], affinity[:, position]
            now_s = self._play(visit, position, playing, liking, now_s)
            rows = visit.who[playing]
            self._recent[rows, 1:] = self._recent[rows, :-1]
            self._recent[rows, 0] = visit.shown[playing, position]
            passed, luck = examined[:, position] & ~playing, self._generator.random(shape[0])
            self.log.write(visit, position, Action.CLICK, passed & (luck < 0.04), now_s)
            self.log.write(visit, position, Action.ADD, passed & (luck > 0.98) & (liking > 0.3), now_s)
            self.log.write(visit, position, Action.HIDE, passed & (luck > 0.985) & (liking < 0), now_s)
        return now_s

    def _play(self, visit: Visit, position: int, playing: Bools, liking: Floats, now_s: Longs) -> Longs:
        """Log what those who start a title do with it; returns when each is free again."""
        m = len(now_s)
        finished = playing & (self._generator.random(m) < 1 / (1 + np.exp(-(0.4 + 2.0 * liking))))
        depth = self._generator.random(m)
        progress = np.where(finished, _FINISHED + 0.1 * depth, 0.03 + 0.85 * depth**1.5).astype(np.float32)
        begun_s = now_s + _PAUSE_S
        ended_s = begun_s + (progress * self._catalogue.duration_min[visit.shown[:, position]] * 60).astype(np.int64)
        self.log.write(visit, position, Action.PLAY, playing, begun_s)
        self.log.write(visit, position, Action.PROGRESS, playing & ~finished, ended_s, progress=progress)
        self.log.write(visit, position, Action.COMPLETE, finished, ended_s, progress=progress)
        judgement = liking + 0.25 * self._generator.normal(size=m) + 0.3 * (progress - 0.5)
        luck = self._generator.random(m)
        stars = np.clip(np.round(3.2 + 2.2 * judgement), 1, 5).astype(np.float32)
        self.log.write(visit, position, Action.RATE, playing & (luck < 0.12), ended_s + 5, value=stars, progress=progress)
        self.log.write(visit, position, Action.LIKE, playing & (luck > 0.85) & (judgement > 0.4), ended_s + 6)
        self.log.write(visit, position, Action.DISLIKE, playing & (luck > 0.9) & (judgement < 0.1), ended_s + 6)
        return np.where(playing, ended_s + _PAUSE_S, now_s)


def next_parts(catalogue: Catalogue, last: Ints) -> Ints:
    """The next part of each title's franchise, of the same shape as `last`, or NO_ITEM."""
    return np.where(last >= 0, catalogue.successor[last], NO_ITEM).astype(np.int32)


def is_among(items: Ints, others: Ints) -> Bools:
    """Whether items [m, k] are titles that stand in the same row of others [m, n]."""
    return ((items[:, :, None] == others[:, None, :]) & (items >= 0)[:, :, None]).any(axis=2)

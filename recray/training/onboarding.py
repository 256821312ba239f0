"""What it is worth to ask a new viewer what they like: the same requests with nothing known, genres picked, titles liked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from recray.data.examination import ORGANIC
from recray.data.grouped import settings_of
from recray.data.replay import Moment
from recray.data.states import words_in
from recray.errors import DataError
from recray.evaluation import cold
from recray.evaluation.beyond import genre_shares
from recray.evaluation.metrics import ndcg_at
from recray.experiments.interval import Doubles
from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.items import Items
from recray.schema import WATCHING, Action, Floats, Ints, Objective, ProfileKey, ProfileSettings, Words
from recray.settings import Settings
from recray.stores.lake import Lake
from recray.training.fit_sources import Say
from recray.training.judge import Judged, judge
from recray.training.session import CONFIDENCE, difference
from recray.training.stored import Stored, stored

N_PICKS: Final = 3
N_OFFERED: Final = 100
N_WATCHED: Final = 10
N_SOON: Final = 5
EVENTS: Final = cold.EVENTS
PROTOCOL: Final = (
    "Viewers whose first event is after all that the bundle learnt from, and who watched at least "
    f"{N_WATCHED} titles; one request each, just before that event. Of those titles, in order of time, every other one is what "
    f"the viewer tells from, and of the rest the first {N_SOON} are relevant (soon), or all (ever). Told are up to {N_PICKS} "
    "genres, those whose share of what is told from is most above their share of all watches, or up to "
    f"{N_PICKS} titles of the {N_OFFERED} most watched, those rated best (then: watched first), liked just before the request. "
    "No title of what is told from is listed, whatever is told, so that every way of asking chooses from the same titles. "
    f"Apart from that, nothing told: the same viewers after their first {', '.join(map(str, EVENTS))} titles; the next one is "
    "the target, and nothing is excluded but what was watched."
)


class Told(NamedTuple):
    """What a viewer tells: names of genres, numbers of titles."""

    genres: tuple[str, ...]
    titles: tuple[int, ...]


class NewViewer(NamedTuple):
    """Somebody of whom nothing was learnt; `tells_from`, with its `stars` (NaN without), and `relevant` are titles watched.

    `words` are all packed events, ascending.
    """

    key: ProfileKey
    came_s: int
    tells_from: Ints
    stars: Floats
    relevant: Ints
    words: Words


Way = Callable[[Told], Told]
_NOTHING: Final = "nothing"
WAYS: Final[Mapping[str, Way]] = {
    _NOTHING: lambda told: Told((), ()),
    "genres": lambda told: Told(told.genres, ()),
    "titles": lambda told: Told((), told.titles),
    "genres and titles": lambda told: told,
}


def new_viewers(words: Mapping[ProfileKey, Words], since_s: int) -> list[NewViewer]:
    """Profiles without an event before a moment and with enough titles watched after it, from their packed events."""
    found = []
    for key, own in words.items():
        own = np.sort(own)
        in_order = _first_watches(own)
        if own.size and fold.times(own[:1])[0] >= since_s and in_order.size >= N_WATCHED:
            told, relevant = in_order[::2], in_order[1::2]
            came_s = int(fold.times(own[:1])[0])
            found.append(NewViewer(key, came_s, fold.items(told), fold.ratings(told), fold.items(relevant), own))
    return found


def _first_watches(words: Words) -> Words:
    """Of ascending packed events the first of each title that proves a start, in order of time."""
    watching = words[np.isin(fold.actions(words), WATCHING)]
    return watching[np.sort(np.unique(fold.items(watching), return_index=True)[1])]


def told_by(viewer: NewViewer, items: Items) -> Told:
    """The genres and titles that a viewer would pick."""
    watches = items.plays[:, 2].astype(np.float64)
    common = (items.genre_shares * watches[:, None]).sum(axis=0)
    known = viewer.tells_from < items.n
    numbers, stars = viewer.tells_from[known], np.nan_to_num(viewer.stars[known])
    above = genre_shares(numbers[None], items.genres)[0] - common / max(common.sum(), 1e-9)
    genres = [g for g in np.argsort(-above, kind="stable")[:N_PICKS].tolist() if above[g] > 0]
    offered = np.isin(numbers, np.argsort(-watches, kind="stable")[:N_OFFERED])
    best = numbers[offered][np.argsort(-stars[offered], kind="stable")][:N_PICKS]
    return Told(tuple(items.genre_names[genre] for genre in genres), tuple(best.tolist()))


def as_told(viewer: NewViewer, told: Told) -> Moment:
    """The viewer's first request, just after having told that; what is told from is excluded and not otherwise known."""
    numbers, n = np.array(told.titles, np.int32), len(told.titles)
    zeros = np.zeros(n, np.int32)
    likes = fold.pack(viewer.came_s - 1 - np.arange(n), numbers, zeros + Action.LIKE, zeros, zeros)
    state = fold.fold(ProfileState(watched=np.unique(viewer.tells_from).astype(np.int32)), likes)
    return _moment(viewer.key, viewer.came_s, state, viewer.relevant)


def after(viewer: NewViewer, n_titles: int) -> Moment:
    """The viewer's request once so many titles were watched; the next one is the target, whatever else was done with it before.

    Events of one second are in order of title numbers.
    """
    following = _first_watches(viewer.words)[n_titles]
    title = fold.items(np.array([following]))
    before = viewer.words[(viewer.words < following) & (fold.items(viewer.words) != title)]
    state = fold.fold(ProfileState(), before)
    at_s = int(fold.times(np.array([following]))[0])
    if before.size:
        at_s = max(at_s, int(fold.times(before[-1:])[0]) + 1)
    return _moment(viewer.key, at_s, state, title)


def _moment(key: ProfileKey, at_s: int, state: ProfileState, targets: Ints) -> Moment:
    outcomes = np.full((targets.size, len(Objective)), np.nan, np.float32)
    return Moment(key, at_s, 0, fold.encode(state), targets, outcomes, np.full((targets.size, 2), ORGANIC, np.int32))


def onboarding(settings: Settings, data: str, name: str, say: Say) -> dict[str, Any]:
    """Figures of a stored bundle on those of a set who came after it was fitted, see `measured`.

    Raises:
        ModelError: no such bundle, or one of other feature views.
        DataError: no such set, or nobody came.
    """
    there = stored(settings, data, name)
    words = words_in(Lake(settings.lake_dir), data)
    return {"bundle": there.bundle.id, "data": data, **measured(there, words, settings, say)}


def measured(there: Stored, words: Mapping[ProfileKey, Words], settings: Settings, say: Say) -> dict[str, Any]:
    """By way of asking and model: NDCG@k of what was watched `soon` and `ever`, coverage@k, share of titles of told genres.

    Each NDCG with its differences to the same model when nothing is told, and to popularity, between bounds. And, nothing
    told, figures after the first titles watched.

    Raises:
        DataError: nobody came after the bundle was fitted, or all of them watched too little.
    """
    viewers = new_viewers(words, there.bundle.manifest["data"]["learnt_before_s"])
    if not viewers:
        raise DataError(
            f"nobody who came to {there.history.name!r} after bundle {there.bundle.id} was fitted watched {N_WATCHED} titles; "
            "expected some: give the last period more (settings `split`), train, and measure again"
        )
    items, k = there.bundle.items, settings.evaluation.k
    told = [told_by(viewer, items) for viewer in viewers]
    judged: dict[str, dict[str, Judged]] = {}
    for way, tells in WAYS.items():
        judged[way] = _asked(there, viewers, [tells(one) for one in told], settings)
        say(f"judged {len(viewers)} new viewers, told: {way}")
    relevant = {
        "soon": [viewer.relevant[:N_SOON] for viewer in viewers],
        "ever": [viewer.relevant for viewer in viewers],
    }
    ndcg = {
        when: {(way, name): ndcg_at(one.lists, titles, k) for way, by in judged.items() for name, one in by.items()}
        for when, titles in relevant.items()
    }

    def figures(way: str, name: str, one: Judged) -> dict[str, Any]:
        told_genres = round(_of_genres(one.lists, told, items), 6)
        facts: dict[str, Any] = {f"coverage@{k}": one.figures[f"coverage@{k}"], f"of_told_genres@{k}": told_genres}
        for when, by in ndcg.items():
            mine: Doubles = by[way, name]
            gains = {
                "difference": difference(mine, by[_NOTHING, name], settings),
                "against_popular": difference(mine, by[_NOTHING, "popular"], settings),
            }
            facts[when] = {f"ndcg@{k}": round(float(mine.mean()), 6), **gains}
        return facts

    ways = {way: {name: figures(way, name, one) for name, one in by.items()} for way, by in judged.items()}
    facts = {"metric": f"ndcg@{k}", "confidence": CONFIDENCE, "seed": settings.training.seed, "protocol": PROTOCOL}
    counts = {"viewers": len(viewers), "with_genres": _some(told, 0), "with_titles": _some(told, 1)}
    watched = {str(n): _watched(there, viewers, n, settings) for n in EVENTS}
    return facts | counts | {"chosen": there.bundle.order(None), "ways": ways, "watched": watched}


def _watched(there: Stored, viewers: Sequence[NewViewer], n_titles: int, settings: Settings) -> dict[str, Any]:
    """By model NDCG@k of the next title after so many, coverage, and the difference to popularity between bounds."""
    able = [viewer for viewer in viewers if viewer.tells_from.size + viewer.relevant.size > n_titles]
    judged = judge(there.bundle, [after(viewer, n_titles) for viewer in able], settings_of(there.history.profiles), settings)
    popular = judged["popular"].ndcg
    return {name: {**one.figures, "against_popular": difference(one.ndcg, popular, settings)} for name, one in judged.items()}


def _asked(there: Stored, viewers: Sequence[NewViewer], told: Sequence[Told], settings: Settings) -> dict[str, Judged]:
    """The first request of each viewer, as judged, after that was told."""
    own = settings_of(there.history.profiles)
    known = {
        viewer.key: replace(own.get(viewer.key, ProfileSettings()), genres=one.genres)
        for viewer, one in zip(viewers, told, strict=True)
    }
    moments = [as_told(viewer, one) for viewer, one in zip(viewers, told, strict=True)]
    return judge(there.bundle, moments, known, settings)


def _of_genres(lists: Ints, told: Sequence[Told], items: Items) -> float:
    """Share of the titles listed [n, k] that have one of the genres that their viewer tells, whether that was told or not."""
    wanted = np.array([[name in one.genres for name in items.genre_names] for one in told])
    of = (items.genres[np.maximum(lists, 0)] & wanted[:, None]).any(axis=2)
    return float(of[lists >= 0].mean()) if (lists >= 0).any() else 0.0


def _some(told: Sequence[Told], part: int) -> int:
    return sum(bool(one[part]) for one in told)

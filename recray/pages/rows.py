"""Which rows a homepage may have: each names its candidates out of one ranked set, and says why it is there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.features.views import SOURCES
from recray.pages.explain import because
from recray.schema import Bools, Candidates, Floats, Ints, Longs

MIN_ITEMS: Final = 4
"""A shorter row reads as an accident; continue watching is shown from one title on."""
_N_SEEDS: Final = 3
_N_KNOWN: Final = 10
"""Titles from which on a history says more than picked genres: two to five times as much as popularity (docs/results)."""


@dataclass(slots=True)
class View:
    """One request's ranked candidates, as rows see them: arrays of K; `order` is best first by score.

    `liked` [N_GENRES] is the profile's preference for each common genre.
    """

    row: int
    candidates: Candidates
    scores: Floats
    order: Longs
    slate: Longs
    items: Items
    profiles: Profiles
    liked: Floats
    region: str | None

    def proposed_by(self, source: str) -> Longs:
        """Places of candidates that a source proposed, in that source's order."""
        ranks = self.candidates.ranks[self.row, :, SOURCES.index(source)]
        places = np.flatnonzero(ranks > 0)
        return places[np.argsort(ranks[places], kind="stable")]

    def ranked(self, places: Longs) -> Longs:
        """Those places, best score first, ties by place."""
        return places[np.argsort(-self.scores[places], kind="stable")]


@dataclass(slots=True, frozen=True)
class Row:
    """A titled list of places in the candidate set, best first, before duplicates across rows are removed."""

    row_id: str
    title: str
    reason: str
    places: Longs
    min_items: int = MIN_ITEMS
    item_reason: str | None = None


def continue_watching(view: View) -> Iterator[Row]:
    """What was begun and not finished, most recent first."""
    yield Row("continue-watching", "Continue watching", "You have not finished these", view.proposed_by("resume"), 1,
              "Continue watching")  # fmt: skip


def top_picks(view: View) -> Iterator[Row]:
    """The slate itself, for profiles that did something or picked genres."""
    if view.profiles.present[view.row].any():
        yield Row("top-picks", "Top picks for you", "Ranked for you from everything you watched and liked", view.slate)
    elif view.profiles.settings[view.row].genres:
        yield Row("top-picks", "Top picks for you", "What many watch, with the genres you picked", view.slate)


def picked_genres(view: View) -> Iterator[Row]:
    """A row per genre that the viewer picked, while too little was watched to know better."""
    picked = view.profiles.settings[view.row].genres
    if picked and np.count_nonzero(view.profiles.history[view.row] >= 0) < _N_KNOWN:
        of_genre = _members(view)
        for name in picked:
            if (genre := view.items.genre_of.get(name.casefold())) is not None:
                yield _of_genre(view, genre, of_genre, f"Because you picked {view.items.genre_names[genre]}")


def because_you_watched(view: View) -> Iterator[Row]:
    """Rows for the newest favourites that have enough candidates of their own."""
    seeds, liked = view.candidates.seeds[view.row], view.profiles.only_liked(view.row)
    for seed in _newest(view.profiles.favourites[view.row], seeds):
        why = because(seed, liked, view.items.names)
        yield Row(f"because-{view.items.content_ids[seed]}", why, "Watched together, or alike, by people, plot and genre",
                  view.ranked(np.flatnonzero(seeds == seed)), item_reason=why)  # fmt: skip


def _newest(favourites: Ints, seeds: Ints) -> list[int]:
    found, counts = np.unique(seeds[seeds >= 0], return_counts=True)
    enough = set(found[counts >= MIN_ITEMS].tolist())
    return [int(seed) for seed in favourites if int(seed) in enough][:_N_SEEDS]


def trending(view: View) -> Iterator[Row]:
    """Titles on the rise, where the request comes from if that is known."""
    where = f" in {view.region}" if view.region in view.items.region_names else ""
    yield Row("trending", f"Trending{where}", "Watched much more than usual lately", view.proposed_by("trending"),
              item_reason=f"Trending{where or ' now'}")  # fmt: skip


def new_releases(view: View) -> Iterator[Row]:
    """The newest titles."""
    yield Row(
        "new-releases", "New releases", "New in the catalogue", view.proposed_by("new_releases"), item_reason="New release"
    )


def like_minded(view: View) -> Iterator[Row]:
    """What profiles with a similar history watched."""
    yield Row("like-minded", "Viewers with your taste", "Watched by profiles whose history resembles yours",
              view.ranked(view.proposed_by("neighbours")), item_reason="Viewers with your taste watched it")  # fmt: skip


def popular(view: View) -> Iterator[Row]:
    """What most viewers watch."""
    yield Row("popular", "Popular", "Watched by most viewers", view.proposed_by("popular"), item_reason="Popular with viewers")


def genres(view: View) -> Iterator[Row]:
    """A row per genre, the profile's own first, then by how many candidates each has."""
    of_genre = _members(view)
    liked = np.zeros(of_genre.shape[1], np.float32)
    liked[view.items.common_genres] = view.liked[: view.items.common_genres.size]
    for genre in np.argsort(-(liked * 1_000 + of_genre.sum(axis=0)), kind="stable").tolist():
        yield _of_genre(view, genre, of_genre, f"{view.items.genre_names[genre]}, ranked for you")


def _members(view: View) -> Bools:
    """Which candidates [K] are of which genre [n_genres]."""
    numbers = view.candidates.items[view.row]
    return view.items.genres[np.maximum(numbers, 0)] & (numbers >= 0)[:, None]


def _of_genre(view: View, genre: int, of_genre: Bools, reason: str) -> Row:
    name = view.items.genre_names[genre]
    return Row(f"genre-{name.lower()}", name, reason, view.ranked(np.flatnonzero(of_genre[:, genre])))


TEMPLATES: Final[tuple[Callable[[View], Iterator[Row]], ...]] = (
    continue_watching,
    top_picks,
    picked_genres,
    because_you_watched,
    trending,
    new_releases,
    like_minded,
    popular,
    genres,
)
"""Rows in page order. A template may yield several rows, or none for a profile that gives it no evidence."""

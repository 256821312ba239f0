"""A small world with a known right answer: titles lie in circles, and every viewer walks along one of them.

A viewer of circle g starts anywhere on it and watches its titles one after another, with a hit that everyone watches now
and then. What comes next is therefore known: the title that follows on the circle, and in a wider sense the rest of the circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recray.candidates.filters import eligibility
from recray.candidates.source import Ask
from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.interactions import Interactions
from recray.features.items import FOREVER, LONG_AGO, Items
from recray.features.profiles import Profiles, columns
from recray.schema import (
    NO_ITEM,
    Action,
    Bools,
    Floats,
    Ints,
    Page,
    ProfileKey,
    ProfileSettings,
    Requests,
)

DAY_S = 86_400
AS_OF_S = 1_700_000_000
REGIONS = ("NL", "US")


@dataclass(frozen=True)
class World:
    """`histories[p]` are the titles profile p watched, oldest first; `following[p]` the title that comes next.

    `circle` [n_items] numbers each title's circle, -1 for a hit. `validation` continues `interactions` by `following`.
    """

    items: Items
    interactions: Interactions
    validation: Interactions
    histories: list[list[int]]
    following: Ints
    circle: Ints

    def ask(self, chosen: Sequence[int], page: Page = Page.HOMEPAGE) -> Ask:
        """What sources are asked on behalf of some profiles, right after their histories."""
        return ask_for(self.items, [self.histories[p] for p in chosen], page)


def make_world(n_circles: int = 6, length: int = 12, n_profiles: int = 240, seed: int = 7) -> World:
    rng = np.random.default_rng(seed)
    n_hits = length // 2
    n = n_circles * length + n_hits
    circle = np.append(np.repeat(np.arange(n_circles), length), np.full(n_hits, -1)).astype(np.int32)
    histories, following = [], []
    for profile in range(n_profiles):
        first, steps = rng.integers(length), int(rng.integers(4, length - 3))
        walk = [int((profile % n_circles) * length + (first + step) % length) for step in range(steps + 1)]
        following.append(walk.pop())
        for hit in rng.permutation(n_hits)[:2]:
            walk.insert(int(rng.integers(len(walk))), n - n_hits + int(hit))
        histories.append(walk)
    return World(
        items=make_items(circle, rng),
        interactions=interactions_of(histories, n),
        validation=interactions_of([[title] for title in following], n, since_s=AS_OF_S),
        histories=histories,
        following=np.array(following, np.int32),
        circle=circle,
    )


def make_items(circle: Ints, rng: np.random.Generator) -> Items:
    """A catalogue whose genres are the circles; every fifth title is for adults, every seventh is licensed in NL alone."""
    n, number = circle.size, np.arange(circle.size)
    genres: Bools = circle[:, None] == np.arange(circle.max() + 1)
    content = genres + 0.1 * rng.standard_normal(genres.shape)
    until = np.full((len(REGIONS), n), FOREVER)
    until[1, number % 7 == 0] = LONG_AGO
    plays = np.ones((n, 3), np.float32)
    return Items(
        content_ids=[f"t{i}" for i in number],
        names=[f"Title {i}" for i in number],
        kind=(number % 4).astype(np.uint8),
        genre_names=[f"Circle {g}" for g in range(genres.shape[1])],
        genres=genres,
        release_at_s=AS_OF_S - (number * 37 % 2_000) * DAY_S,
        added_at_s=np.full(n, LONG_AGO),
        maturity=np.where(number % 5 == 0, 18, 6).astype(np.int32),
        language_names=["en"],
        language=np.zeros(n, np.int32),
        n_languages=np.ones(n, np.int32),
        priority=np.ones(n, np.float32),
        duration_s=np.full(n, 5_400, np.float32),
        content=(content / np.linalg.norm(content, axis=1, keepdims=True)).astype(np.float32),
        plays=plays,
        completion=np.full(n, 0.5, np.float32),
        rating=np.full(n, 3, np.float32),
        as_of_s=AS_OF_S,
        region_names=REGIONS,
        available_from_s=np.full((len(REGIONS), n), LONG_AGO),
        available_until_s=until,
        regional_plays=np.ones((len(REGIONS), n), np.float32),
    )


def interactions_of(histories: Sequence[Sequence[int]], n_items: int, since_s: int | None = None) -> Interactions:
    """One watch per title, hourly: the last of each history an hour before `AS_OF_S`, or the first at `since_s`."""
    sizes = [len(history) for history in histories]
    profile = np.repeat(np.arange(len(histories)), sizes).astype(np.int32)
    item = np.array([title for history in histories for title in history], np.int32)
    began = [since_s if since_s is not None else AS_OF_S - 3_600 * size for size in sizes]
    at_s = np.array(
        [start + 3_600 * place for start, size in zip(began, sizes, strict=True) for place in range(size)], np.int64
    )
    unknown: Floats = np.full(item.size, np.nan, np.float32)
    return Interactions(
        profile=profile,
        item=item,
        at_s=at_s,
        weight=np.ones(item.size, np.float32),
        rating=unknown,
        progress=unknown,
        region=(profile % len(REGIONS)).astype(np.int32),
        n_profiles=len(histories),
        n_items=n_items,
    )


def rated(rows: Sequence[tuple[int, int, float]], n_profiles: int, n_items: int) -> Interactions:
    """Ratings (profile, title, stars), a second apart."""
    profile, item, stars = zip(*rows, strict=True)
    n = len(rows)
    return Interactions(
        profile=np.array(profile, np.int32),
        item=np.array(item, np.int32),
        at_s=np.arange(n, dtype=np.int64),
        weight=np.ones(n, np.float32),
        rating=np.array(stars, np.float32),
        progress=np.full(n, np.nan, np.float32),
        region=np.full(n, -1, np.int32),
        n_profiles=n_profiles,
        n_items=n_items,
    )


def state_of(history: Sequence[int], last_progress: float = 0.4) -> ProfileState:
    """A folded profile that watched these titles, oldest first, hourly up to `AS_OF_S`; all but the last to the end."""
    n = len(history)
    at_s = AS_OF_S - 3_600 * np.arange(n, 0, -1)
    value = np.full(n, 63)
    value[-1:] = int(last_progress * 63)
    words = fold.pack(at_s, np.array(history, np.int32), np.full(n, Action.PLAY), np.zeros(n, np.int32), value)
    return fold.fold(ProfileState(), words)


def profiles_of(histories: Sequence[Sequence[int]], settings: ProfileSettings | None = None) -> Profiles:
    return columns([state_of(history) for history in histories], [settings or ProfileSettings()] * len(histories))


def make_requests(n: int, page: Page = Page.HOMEPAGE, **columns_: object) -> Requests:
    """n requests in region NL that differ from the plainest ones in the columns given."""
    plain: dict[str, object] = {
        "keys": [ProfileKey(f"u{i}", "p") for i in range(n)],
        "ids": [f"r{i}" for i in range(n)],
        "now_s": np.full(n, AS_OF_S, np.int64),
        "page": np.full(n, page, np.uint8),
        "device": np.zeros(n, np.uint8),
        "n_items": np.full(n, 20, np.int32),
        "n_rows": np.ones(n, np.int32),
        "seed_item": np.full(n, NO_ITEM, np.int32),
        "kinds": np.zeros(n, np.uint8),
        "exclude_watched": np.ones(n, np.bool_),
        "region": ["NL"] * n,
        "query": [""] * n,
        "category": [""] * n,
    }
    return Requests(**(plain | columns_))  # type: ignore[arg-type]  # columns are checked where they are used


def ask_for(items: Items, histories: Sequence[Sequence[int]], page: Page = Page.HOMEPAGE, **columns_: object) -> Ask:
    """An ask whose masks come from the real filters."""
    requests = make_requests(len(histories), page, **columns_)
    profiles = profiles_of(histories)
    return Ask(requests, profiles, items, *eligibility(requests, profiles, items, None))

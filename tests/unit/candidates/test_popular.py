from dataclasses import replace

import numpy as np
import pytest

from recray.candidates.popular import fit_new_releases, fit_popular, fit_trending
from recray.features.interactions import Interactions
from recray.features.items import LONG_AGO, Items
from recray.settings import SourceSettings
from worlds import AS_OF_S, DAY_S, ask_for, make_items

CONFIG = SourceSettings(popularity_half_life_days=100, trending_half_life_days=5, new_release_days=50)
N = 8


@pytest.fixture
def items() -> Items:
    made = make_items(np.zeros(N, np.int32), np.random.default_rng(0))
    made.available_until_s[:] = np.iinfo(np.int64).max
    return made


def watches(*rows: tuple[int, int, float, int]) -> Interactions:
    """Watches as (profile, title, days ago, region)."""
    ordered = sorted(rows, key=lambda row: (row[0], -row[2]))
    profile, item, days, region = (np.array(column) for column in zip(*ordered, strict=True))
    ones = np.ones(len(rows), np.float32)
    return Interactions(
        profile.astype(np.int32), item.astype(np.int32), (AS_OF_S - days * DAY_S).astype(np.int64), ones, ones, ones,
        region.astype(np.int32), int(profile.max()) + 1, N,
    )  # fmt: skip


def crowd(title: int, n: int, days: float, region: int = 0, first: int = 0) -> list[tuple[int, int, float, int]]:
    return [(first + p, title, days, region) for p in range(n)]


def test_an_old_watch_counts_less(items: Items) -> None:
    source = fit_popular(watches(*crowd(2, 3, days=1), *crowd(5, 5, days=200, first=10)), items, CONFIG)
    got = source.retrieve(ask_for(items, [[]], region=[None]), N)
    assert got.items[0, :2].tolist() == [2, 5]
    assert got.scores[0, 1] == pytest.approx(5 / 4)
    assert sorted(got.items[0].tolist()) == list(range(N))


def test_repeated_watches_of_one_profile_count_once(items: Items) -> None:
    before = crowd(0, 20, days=100, first=10)
    seen = watches(*[(0, 3, day, 0) for day in range(9)], (1, 4, 0, 0), (2, 4, 0, 0), *before)
    ask = ask_for(items, [[]], region=[None])
    assert fit_popular(seen, items, CONFIG).retrieve(ask, 3).items.tolist() == [[0, 4, 3]]
    assert fit_trending(seen, items, CONFIG).retrieve(ask, 3).items[0, :2].tolist() == [4, 3]


def test_a_region_has_its_own_order_and_an_unknown_one_the_world_s(items: Items) -> None:
    source = fit_popular(watches(*crowd(1, 40, 1, region=0, first=60), *crowd(6, 30, 1, region=1, first=20)), items, CONFIG)
    got = source.retrieve(ask_for(items, [[]] * 4, region=["NL", "US", None, "FR"]), 1)
    assert got.items[:, 0].tolist() == [1, 6, 1, 1]


def test_a_region_without_watches_reads_as_the_world(items: Items) -> None:
    source = fit_popular(watches(*crowd(1, 9, 1, region=0)), items, CONFIG)
    assert source.retrieve(ask_for(items, [[]], region=["US"]), 1).items.tolist() == [[1]]


def test_trending_is_what_rose_and_not_what_is_big(items: Items) -> None:
    steady = [row for day in range(0, 300, 3) for row in crowd(0, 4, day, first=1_000 + 4 * day)]
    rising = crowd(7, 12, days=1)
    seen = watches(*steady, *rising)
    ask = ask_for(items, [[]], region=[None])
    assert fit_popular(seen, items, CONFIG).retrieve(ask, 1).items.tolist() == [[0]]
    got = fit_trending(seen, items, CONFIG).retrieve(ask, N)
    assert got.items.tolist() == [[7]]


def test_new_releases_come_first_by_watches_for_their_time_then_the_newest_of_the_rest(items: Items) -> None:
    age_days = np.array([10, 40, 5, 51, 400, 60, 0, 0])
    released = np.where(np.arange(N) == 6, LONG_AGO, AS_OF_S - age_days * DAY_S)
    released[7] = AS_OF_S - 4_000 * DAY_S
    added = np.full(N, LONG_AGO)
    added[7] = AS_OF_S - 20 * DAY_S
    dated = replace(items, release_at_s=released, added_at_s=added)
    seen = watches(*crowd(1, 30, 3), *crowd(0, 20, 3, first=50), *crowd(3, 500, 3, first=100), *crowd(7, 2, 3, first=700))
    got = fit_new_releases(seen, dated, CONFIG).retrieve(ask_for(dated, [[]]), N)
    assert got.items[0].tolist() == [0, 1, 2, 7, 3, 5, 4]
    assert (np.diff(got.scores[0]) < 0).all()


def test_no_watches_at_all_still_gives_every_title_a_place(items: Items) -> None:
    none = watches((0, 0, 1, 0)).where(np.zeros(1, np.bool_))
    assert fit_popular(none, items, CONFIG).retrieve(ask_for(items, [[]]), N).items.tolist() == [list(range(N))]
    assert fit_trending(none, items, CONFIG).retrieve(ask_for(items, [[]]), N).items.size == 0
    assert np.isfinite(fit_new_releases(none, items, CONFIG).retrieve(ask_for(items, [[]]), N).scores).all()

"""Fitted counts and live ones in one score, by hand; floods; and what a bundle knows of a tally that knows no bundle."""

import math
from dataclasses import replace

import numpy as np
import pytest

from recray.candidates.live import Live
from recray.candidates.popular import (
    NewReleases,
    Popular,
    Trending,
    best_first,
    fit_new_releases,
    fit_popular,
    fit_trending,
    with_live,
)
from recray.features.counting import Bounds, Counting, Seen
from recray.features.interactions import Interactions
from recray.features.items import FOREVER, Items
from recray.features.tally import account_digests, empty, title_digests
from recray.settings import SourceSettings
from worlds import AS_OF_S, DAY_S, ask_for, make_items

CONFIG = SourceSettings(popularity_half_life_days=100, trending_half_life_days=5, new_release_days=50)
N = 8
NOON_S = AS_OF_S // DAY_S * DAY_S + DAY_S
"""A day's beginning: half a slot lies between a watch right then and the middle that stands for it."""


@pytest.fixture
def items() -> Items:
    made = make_items(np.zeros(N, np.int32), np.random.default_rng(0))
    made.available_until_s[:] = FOREVER
    return made


Watch = tuple[str, str, str, int]


def crowd(title: int, n: int, region: str = "NL", at_s: int = NOON_S, name: str = "u") -> list[Watch]:
    return [(f"{name}{title}-{k}", f"t{title}", region, at_s) for k in range(n)]


def live(items: Items, *watches: Watch, now_s: int = NOON_S, since_s: int = AS_OF_S, shown: tuple[Watch, ...] = ()) -> Live:
    counting = Counting(empty(since_s), Bounds(20, 400, 10_000, 10_000))
    for part, on_page in ((watches, False), (shown, True)):
        if part:
            accounts, titles, regions, at_s = zip(*part, strict=True)
            seen = Seen(account_digests(accounts), title_digests(titles), list(regions), np.array(at_s, np.int64))
            counting.count(seen, shown=on_page)
    return Live(counting.advance(now_s), items, title_digests(items.content_ids), now_s)


def watches_of(*counts: int) -> Interactions:
    """So many profiles' watches of titles 0, 1, ... at the moment of the fit, in NL."""
    item = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    ones = np.ones(item.size, np.float32)
    at_s, region = np.full(item.size, AS_OF_S, np.int64), np.zeros(item.size, np.int32)
    return Interactions(np.arange(item.size, dtype=np.int32), item, at_s, ones, ones, ones, region, item.size, N)


def listed(source: Popular | Trending | NewReleases, items: Items, region: str | None, k: int = N) -> list[int]:
    return [int(item) for item in source.retrieve(ask_for(items, [[]], region=[region]), k).items[0] if item >= 0]


def test_popular_is_fitted_counts_faded_plus_live_counts(items: Items) -> None:
    fitted = fit_popular(watches_of(8, 4), items, CONFIG)
    now_s = AS_OF_S + 100 * DAY_S
    made = fitted.with_live(live(items, *crowd(1, 3, at_s=now_s), now_s=now_s))
    got = made.retrieve(ask_for(items, [[]], region=[None]), 2)
    assert got.items.tolist() == [[1, 0]]
    assert got.scores[0] == pytest.approx([4 / 2 + 3, 8 / 2], rel=1e-4)


def test_time_of_which_nothing_is_known_does_not_age_the_fitted_counts(items: Items) -> None:
    fitted = fit_popular(watches_of(8, 4), items, CONFIG)
    years_later_s = AS_OF_S + 3_000 * DAY_S
    made = fitted.with_live(live(items, *crowd(1, 3, at_s=years_later_s), now_s=years_later_s, since_s=years_later_s))
    assert made.retrieve(ask_for(items, [[]], region=[None]), 2).scores[0] == pytest.approx([8, 7], rel=1e-4)


def test_what_the_fit_knew_already_is_not_added_again(items: Items) -> None:
    fitted = fit_popular(watches_of(8, 4), items, CONFIG)
    before_s = AS_OF_S - 3 * DAY_S
    made = fitted.with_live(live(items, *crowd(1, 50, at_s=before_s), since_s=before_s))
    assert listed(made, items, None)[:2] == [0, 1]


def test_a_data_set_whose_clock_runs_ahead_takes_live_counts_all_the_same(items: Items) -> None:
    fitted = fit_popular(watches_of(8, 4), items, CONFIG)
    now_s = AS_OF_S - 900 * DAY_S
    made = fitted.with_live(live(items, *crowd(1, 50, at_s=now_s), now_s=now_s, since_s=now_s - DAY_S))
    assert listed(made, items, None)[:2] == [1, 0]


def test_a_title_that_becomes_hot_trends_in_its_region_and_not_in_others(items: Items) -> None:
    fitted = fit_trending(watches_of(400, 300, 200), items, CONFIG)
    hot = live(items, *crowd(2, 6, "US"), *crowd(0, 3, "NL"), *crowd(1, 2, "NL"))
    made = fitted.with_live(hot, (1.0, 24.0))
    assert listed(made, items, "US") == [2]
    assert listed(made, items, "NL", 1) == [0]
    assert listed(fitted, items, "US") == listed(fitted, items, "NL") == []


def test_trending_is_deviations_above_what_the_longer_share_makes_expect_in_the_best_window(items: Items) -> None:
    fitted = fit_trending(watches_of(30, 10), items, CONFIG)
    now_s = NOON_S + 24 * 3_600
    made = fitted.with_live(live(items, *crowd(1, 4), now_s=now_s), (24.0,))
    fade = 2 ** -((now_s - AS_OF_S) / DAY_S / 100)
    # The slot of a day ago is an hour wide by now, and its middle stands for it.
    age_h = 23.5
    long = 4 * 2 ** -(age_h / 24 / 100)
    share = (10 * fade + long) / (40 * fade + long)
    window = 4 * 2 ** -(age_h / 24) - 1
    by_day = window * (1 - share) / math.sqrt(share * window + 1)
    week_fade, week = 2 ** -((now_s - AS_OF_S) / DAY_S / 5), 4 * 2 ** -(age_h / 24 / 5) - 1
    expected = share * (40 * week_fade + week)
    by_week = (10 * week_fade + week - expected) / math.sqrt(expected + 1)
    got = made.retrieve(ask_for(items, [[]], region=["NL"]), 1)
    assert got.items.tolist() == [[1]]
    assert got.scores[0, 0] == pytest.approx(max(by_day, by_week), rel=1e-4)


def test_a_flood_from_one_account_moves_nothing_noticeable(items: Items) -> None:
    fits = {"popular": fit_popular, "trending": fit_trending, "new_releases": fit_new_releases}
    fitted = {name: fit(watches_of(40, 30, 20, 10, 5), items, CONFIG) for name, fit in fits.items()}
    honest = [*crowd(3, 12), *crowd(1, 5), *crowd(0, 4)]
    flood = [("villain", f"t{4 + n % 2}", "NL", NOON_S - n % 3_000) for n in range(10_000)]
    quiet = with_live(fitted, live(items, *honest), (1.0, 24.0), 50.0)
    flooded = with_live(fitted, live(items, *honest, *flood), (1.0, 24.0), 50.0)
    polite = with_live(fitted, live(items, *honest, *[("villain", f"t{n}", "NL", NOON_S) for n in (4, 5)]), (1.0, 24.0), 50.0)
    for name, k in (("popular", 4), ("trending", 2)):
        assert listed(flooded[name], items, "NL", k) == listed(quiet[name], items, "NL", k), name  # type: ignore[arg-type]
    for name, source in flooded.items():
        expected = polite[name]._scores  # type: ignore[attr-defined]
        np.testing.assert_allclose(source._scores, expected, rtol=1e-3, err_msg="one who watched each title once")  # type: ignore[attr-defined]


def test_many_accounts_do_move_what_one_cannot(items: Items) -> None:
    fitted = fit_popular(watches_of(40, 30, 20, 10, 5), items, CONFIG)
    assert listed(fitted.with_live(live(items, *crowd(4, 60))), items, "NL", 1) == [4]


def test_what_the_bundle_does_not_know_counts_for_nothing_and_a_strange_region_for_the_world(items: Items) -> None:
    fitted = fit_popular(watches_of(80, 10), items, CONFIG)
    made = fitted.with_live(live(items, *crowd(77, 500), *crowd(1, 90, "FR"), *crowd(1, 20, "")))
    assert listed(made, items, None, 2) == [1, 0]
    assert listed(made, items, "NL", 2) == [0, 1]


def test_with_an_empty_tally_orders_stay_as_they_were_fitted(items: Items) -> None:
    fits = {"popular": fit_popular, "new_releases": fit_new_releases}
    fitted = {name: fit(watches_of(5, 3, 1), items, CONFIG) for name, fit in fits.items()}
    made = with_live(fitted, live(items, now_s=AS_OF_S), (1.0,), 50.0)
    for name, source in fitted.items():
        assert listed(made[name], items, "NL") == listed(source, items, "NL")  # type: ignore[arg-type]


def test_what_nobody_watches_any_more_decays_by_itself(items: Items) -> None:
    fitted = fit_trending(watches_of(40, 30, 20), items, CONFIG)
    hot = live(items, *crowd(2, 6, "US"))
    scores = []
    for days in (0, 5, 10):
        later = replace_at(hot, NOON_S + days * DAY_S)
        scores.append(float(fitted.with_live(later, (1.0,)).retrieve(ask_for(items, [[]], region=["US"]), 1).scores.max()))
    assert scores[0] > 1.5 * scores[1] > 2.2 * scores[2] > 0


def replace_at(known: Live, at_s: int) -> Live:
    return replace(known, at_s=at_s, _known={})


@pytest.fixture
def fresh(items: Items) -> Items:
    items.release_at_s[:] = AS_OF_S - 10 * DAY_S
    items.release_at_s[5:] = AS_OF_S - 900 * DAY_S
    return items


def test_a_new_title_is_judged_by_watches_per_account_it_was_shown_to(fresh: Items) -> None:
    fitted = fit_new_releases(watches_of(0, 0, 0, 0, 0, 90), fresh, CONFIG)
    shown = (*crowd(0, 100, name="s"), *crowd(1, 100, name="s"), *crowd(2, 4, name="s"))
    made = fitted.with_live(live(fresh, *crowd(0, 30), *crowd(1, 2), shown=shown), 10.0)
    order = listed(made, fresh, None)
    assert order[0] == 0
    assert order.index(2) < order.index(1), (
        "shown to few, it still gets a chance; shown to many, and watched by few, it had one"
    )
    assert set(order[:5]) == {0, 1, 2, 3, 4}, "older titles stay behind"


def test_a_new_title_s_score_by_hand(fresh: Items) -> None:
    fitted = NewReleases(np.array([[2.0, 1.5, 1.5, 0.5]], np.float32), half_life_days=100)
    four = replace(fresh, content_ids=fresh.content_ids[:4])
    shown = tuple(crowd(0, 6, name="s") + crowd(1, 2, name="s"))
    counted = Live(live(fresh, *crowd(0, 3), shown=shown).tally, four, title_digests(four.content_ids), NOON_S)
    scores = fitted.with_live(counted, 4.0)._scores[0]
    typical = (3 + 1) / (8 + 4)
    appeal = np.array([1.0, 0.5, 0.5]) / (2 / 3)
    rate = (np.array([3, 0, 0]) + 4 * typical * appeal) / (np.array([6, 2, 0]) + 4)
    hoped = rate + np.sqrt(rate / (np.array([6, 2, 0]) + 4))
    assert scores[:3] == pytest.approx(1 + hoped / hoped.max(), rel=1e-5)
    assert scores[3] == 0.5


@pytest.mark.parametrize("nearly", [False, True])
def test_best_first_is_descending_score_with_ties_by_number(nearly: bool) -> None:
    draw = np.random.default_rng(3)
    scores = draw.choice(np.array([-np.inf, -3.5, -0.0, 0.0, 1e-30, 2.0, 7.0], np.float32), (5, 400))
    near = np.argsort(draw.random((5, 400)), axis=1).astype(np.int32) if nearly else None
    expected = np.argsort(-scores, axis=1, kind="stable")
    expected[np.take_along_axis(scores, expected, axis=1) == -np.inf] = -1
    assert np.array_equal(best_first(scores, near), expected)

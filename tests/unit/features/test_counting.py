"""What one event adds: an account once per title, at its newest watch, whatever comes twice, late, or in a flood."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.errors import DataError
from recray.features.counting import Bounds, Counting, Seen, resumed
from recray.features.tally import SHOWN, Tally, account_digests, decode, empty, encode, title_digests

NOW_S = 1_700_000_000
DAY_S = 86_400
BOUNDS = Bounds(account_titles=3, keep_days=30, most_rows=10_000, most_pairs=10_000)
Watch = tuple[str, str, str, int]


def seen(*watches: Watch) -> Seen:
    """Watches as (account, title, region, moment)."""
    accounts, titles, regions, at_s = zip(*watches, strict=True)
    return Seen(account_digests(accounts), title_digests(titles), list(regions), np.array(at_s, np.int64))


def counting(bounds: Bounds = BOUNDS) -> Counting:
    return Counting(empty(NOW_S), bounds)


def counts(tally: Tally) -> dict[tuple[str, str], int]:
    """Accounts by region and title, over all slots."""
    names = dict(zip(title_digests(TITLES).tolist(), TITLES, strict=True))
    total: Counter[tuple[str, str]] = Counter()
    for region, title, number in zip(tally.region, tally.title, tally.number, strict=True):
        total["shown" if region == SHOWN else tally.regions[region], names[int(tally.titles[title])]] += int(number)
    return dict(total)


TITLES = [f"t{n}" for n in range(200)]


def test_accounts_count_by_region_and_title() -> None:
    kept = counting()
    kept.count(seen(("a", "t1", "NL", NOW_S), ("b", "t1", "NL", NOW_S - 900), ("c", "t1", "US", NOW_S), ("d", "t2", "", NOW_S)))
    assert counts(kept.advance(NOW_S)) == {("NL", "t1"): 2, ("US", "t1"): 1, ("", "t2"): 1}


def test_an_account_counts_once_per_title_at_its_newest_watch() -> None:
    kept = counting()
    kept.count(seen(("a", "t1", "NL", NOW_S - 5_000), ("a", "t1", "NL", NOW_S - 4_000)))
    kept.count(seen(("a", "t1", "US", NOW_S), ("a", "t1", "NL", NOW_S - 9_000)))
    tally = kept.advance(NOW_S)
    assert counts(tally) == {("US", "t1"): 1}
    assert tally.slot_s.tolist() == [NOW_S // 300 * 300]


def test_a_watch_moves_out_of_a_slot_that_has_become_wider_meanwhile() -> None:
    kept = counting()
    kept.count(seen(("a", "t1", "NL", NOW_S - 1_000), ("b", "t1", "NL", NOW_S - 700)))
    for days in (0.1, 1.0, 3.0):
        kept.advance(int(NOW_S + days * DAY_S))
    kept.count(seen(("a", "t1", "NL", NOW_S + 3 * DAY_S)))
    assert kept.advance(NOW_S + 3 * DAY_S).number.tolist() == [1, 1]


def test_a_flood_from_one_account_adds_one_to_each_of_a_few_titles() -> None:
    kept = counting()
    flood = [("flood", f"t{n % 100}", "NL", NOW_S - n % 7) for n in range(5_000)]
    for start in range(0, 5_000, 500):
        kept.count(seen(*flood[start : start + 500]))
    total = counts(kept.advance(NOW_S))
    assert len(total) == BOUNDS.account_titles
    assert set(total.values()) == {1}


def test_an_account_has_room_again_on_another_day_and_a_title_of_today_takes_none_twice() -> None:
    kept = counting()
    kept.count(seen(*[("a", f"t{n}", "NL", NOW_S) for n in range(3)]))
    kept.count(seen(*[("a", f"t{n}", "NL", NOW_S + 60) for n in range(3)], ("a", "t9", "NL", NOW_S)))
    kept.count(seen(("b", "t9", "NL", NOW_S)))
    assert sum(counts(kept.advance(NOW_S)).values()) == 4
    kept.count(seen(*[("a", f"t{n}", "NL", NOW_S - DAY_S) for n in range(20, 30)]))
    assert sum(counts(kept.advance(NOW_S)).values()) == 7


def test_being_shown_counts_apart_and_takes_no_room() -> None:
    kept = counting()
    kept.count(seen(*[("a", f"t{n}", "", NOW_S) for n in range(10)], *[("a", "t1", "", NOW_S)] * 5), shown=True)
    kept.count(seen(("a", "t1", "NL", NOW_S)))
    total = counts(kept.advance(NOW_S))
    assert total["shown", "t1"] == total["NL", "t1"] == 1
    assert sum(total.values()) == 11


def test_what_is_too_old_goes_and_so_does_its_memory() -> None:
    kept = counting()
    kept.count(seen(("a", "t1", "NL", NOW_S - 40 * DAY_S), ("b", "t1", "NL", NOW_S)))
    assert counts(kept.advance(NOW_S)) == {("NL", "t1"): 1}
    assert kept.pair.size == 1
    assert kept.advance(NOW_S + 31 * DAY_S).keys.size == kept.pair.size == 0


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    kept = counting(replace(BOUNDS, most_rows=50, most_pairs=40))
    for n in range(150):
        kept.count(seen((f"u{n}", TITLES[n], "NL", NOW_S + 300 * n)))
    tally = kept.advance(NOW_S + 300 * 150)
    assert (tally.keys.size, kept.pair.size) == (50, 40)
    assert ("NL", "t149") in counts(tally)
    assert ("NL", "t99") not in counts(tally)


def test_counting_goes_on_from_what_was_written_as_if_it_had_never_stopped() -> None:
    through, stopped = counting(), counting()
    for n in range(6):
        part = seen(*[(f"u{k % 4}", f"t{(k * n) % 7}", ("NL", "US")[k % 2], NOW_S + 500 * n + k) for k in range(9)])
        through.count(part)
        stopped.count(part)
        through.advance(NOW_S + 500 * n)
        value = encode(stopped.advance(NOW_S + 500 * n))
        stopped = resumed(decode(value), stopped.memory(), BOUNDS)
    assert encode(through.tally) == encode(stopped.tally)
    assert through.memory() == stopped.memory()


def test_a_memory_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        resumed(empty(NOW_S), b"nothing", BOUNDS)


watches = st.lists(
    st.tuples(
        st.sampled_from("abcde"), st.sampled_from(TITLES[:6]), st.sampled_from(["NL", "US", ""]),
        st.integers(NOW_S - 3 * DAY_S, NOW_S),
    ),
    max_size=40,
)  # fmt: skip


@given(watches, st.integers(1, 7))
def test_however_the_log_is_cut_the_tally_is_that_of_the_newest_watches(log: list[Watch], size: int) -> None:
    kept = counting(replace(BOUNDS, account_titles=1_000))
    for start in range(0, len(log), size):
        kept.count(seen(*log[start : start + size]))
        kept.advance(NOW_S)
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for account, title, region, at_s in log:
        if at_s > newest.get((account, title), (0, ""))[0]:
            newest[account, title] = at_s, region
    expected = Counter((region, title) for (_, title), (_, region) in newest.items())
    assert counts(kept.tally) == dict(expected)


@given(watches, st.integers(1, 7))
def test_no_account_is_ever_in_more_titles_of_a_day_than_it_may(log: list[Watch], size: int) -> None:
    kept = counting(replace(BOUNDS, account_titles=2))
    for start in range(0, len(log), size):
        kept.count(seen(*log[start : start + size]))
    days = Counter(zip((kept.pair >> np.uint64(25)).tolist(), (kept.pair_at_s // DAY_S).tolist(), strict=True))
    assert all(n <= 2 for n in days.values())

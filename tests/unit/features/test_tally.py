"""A tally's rows: slots that widen with age, decay by hand, and the way through bytes."""

import numpy as np
import pytest

from recray.errors import DataError
from recray.features.tally import SLOT_S, Tally, decode, empty, encode, packed, slot_of, title_digests

NOON_S = 1_700_006_400  # 00:00 UTC of a day
HOUR_S, DAY_S = 3_600, 86_400


def tally(*rows: tuple[int, int, int, int], at_s: int = NOON_S) -> Tally:
    """Rows as (slot, region, title, number)."""
    slot_s, region, title, number = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    slot_s = slot_of(slot_s, at_s)
    order = np.argsort(packed(slot_s, region, title))
    return Tally(
        packed(slot_s, region, title)[order],
        number[order],
        title_digests(["a", "b", "c"]),
        ("", "NL", "US"),
        NOON_S - DAY_S,
        at_s,
    )


def test_slots_are_five_minutes_then_hours_then_days() -> None:
    at_s = NOON_S + 10 * HOUR_S + 1_234
    ages_s = np.array([0, HOUR_S, 3 * HOUR_S, 30 * HOUR_S, 60 * HOUR_S, 100 * DAY_S])
    began_s = slot_of(at_s - ages_s, at_s)
    widths = [SLOT_S, SLOT_S, HOUR_S, HOUR_S, DAY_S, DAY_S]
    assert [int(began) % width for began, width in zip(began_s, widths, strict=True)] == [0] * 6
    assert all(0 <= (at_s - age_s) - began < width for age_s, began, width in zip(ages_s, began_s, widths, strict=True))


@pytest.mark.parametrize("step_s", [299, 1_801, 40_000])
def test_whatever_lay_in_one_slot_stays_together_while_time_goes_on(step_s: int) -> None:
    moments_s = np.arange(NOON_S, NOON_S + DAY_S, 97)
    slots_s = slot_of(moments_s, NOON_S)
    for now_s in range(NOON_S, NOON_S + 4 * DAY_S, step_s):
        slots_s = slot_of(slots_s, now_s)
        assert np.array_equal(slots_s, slot_of(moments_s, now_s))


def test_a_row_is_worth_half_after_each_half_life_counted_from_the_middle_of_its_slot() -> None:
    rows = tally((NOON_S - 4 * DAY_S, 1, 0, 8), (NOON_S, 2, 1, 3))
    at_s = NOON_S - 4 * DAY_S + DAY_S // 2 + 7 * DAY_S
    assert rows.decayed(7 * DAY_S, at_s, 0) == pytest.approx([4.0, 3 * 2 ** (-(at_s - NOON_S - 150) / (7 * DAY_S))])


def test_a_row_is_never_worth_more_than_its_number() -> None:
    assert tally((NOON_S, 1, 0, 8)).decayed(HOUR_S, NOON_S + 1, 0).tolist() == [8.0]


def test_what_came_before_the_moment_asked_is_left_out() -> None:
    rows = tally((NOON_S - 5 * DAY_S, 1, 0, 8), (NOON_S - 600, 1, 0, 2))
    assert rows.decayed(1e12, NOON_S, NOON_S - DAY_S) == pytest.approx([0.0, 2.0])


def test_a_version_comes_back_as_it_was() -> None:
    rows = tally((NOON_S - 3_000, 1, 0, 8), (NOON_S, 2, 1, 70_000), (NOON_S, 0xFFFF, 2, 1))
    again = decode(encode(rows))
    assert np.array_equal(again.keys, rows.keys)
    assert again.number.tolist() == rows.number.tolist()
    assert (again.titles.tolist(), again.regions) == (rows.titles.tolist(), rows.regions)
    assert (again.since_s, again.at_s) == (rows.since_s, rows.at_s)
    assert again.slot_s.tolist() == [NOON_S - 3_000, NOON_S, NOON_S]
    assert again.region.tolist() == [1, 2, 0xFFFF]
    assert again.title.tolist() == [0, 1, 2]
    nothing = decode(encode(empty(NOON_S)))
    assert (nothing.keys.size, nothing.regions, nothing.since_s) == (0, ("",), NOON_S)


@pytest.mark.parametrize("blob", [b"", b"no tally", encode(tally((NOON_S, 1, 0, 8)))[:-30]])
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        decode(blob)

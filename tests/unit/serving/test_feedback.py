"""Feedback on its way in: which times are taken, and that what is packed is what the tables will say."""

import re
from dataclasses import replace

import numpy as np
import pytest

from recray.errors import RequestError
from recray.features import fold
from recray.schema import ProfileKey
from recray.serving.feedback import Feedback, Intake, arrival
from recray.settings import StoreSettings
from recray.stores.memory import MemoryStore
from worlds import make_world

NOW_S = 1_800_000_000
LIMITS = StoreSettings(n_shards=2, dedup_ttl_s=10_000, max_future_s=300)
ITEMS = make_world().items


def feedback(ahead_s: int, event_id: str | None = "e1", progress: float | None = None) -> Feedback:
    return Feedback(user_id="u", profile_id="p", content_id="t3", action="play", timestamp=NOW_S + ahead_s, event_id=event_id,
                    progress=progress)  # fmt: skip


@pytest.mark.parametrize("ahead_s", [300, 0, -9_400])
def test_event_within_its_bounds_keeps_its_own_time(ahead_s: int) -> None:
    assert arrival(feedback(ahead_s), ITEMS, NOW_S, LIMITS).event.event_at_s == NOW_S + ahead_s


@pytest.mark.parametrize(
    ("ahead_s", "says"),
    [
        (301, "timestamp is 301 s in the future; at most 300 s are accepted: set the client's clock"),
        (
            -9_401,
            "timestamp is 9401 s in the past; at most 9400 s are accepted: bring older events in with 'recray import files'",
        ),
    ],
)
def test_event_outside_its_bounds_is_refused_with_them(ahead_s: int, says: str) -> None:
    with pytest.raises(RequestError, match=f"^{re.escape(says)}$"):
        arrival(feedback(ahead_s), ITEMS, NOW_S, LIMITS)


@pytest.mark.parametrize("first_ahead_s", [300, 0, -9_400])
async def test_copy_of_an_event_is_never_counted_however_late_it_comes(first_ahead_s: int) -> None:
    """Over the whole life of the dedup mark and beyond: a duplicate while the mark lives, refused once it may have gone."""
    clock = [float(NOW_S)]
    store = MemoryStore(LIMITS, lambda: clock[0])
    intake = Intake(store, LIMITS, settle=lambda key: None)
    sent = feedback(first_ahead_s)
    assert await intake.take([sent], ITEMS, NOW_S) == ["accepted"]
    for later_s in range(0, 30_000, 50):
        clock[0] = float(NOW_S + later_s)
        (verdict,) = await intake.take([sent], ITEMS, NOW_S + later_s)
        assert verdict == "duplicate" or verdict.startswith("rejected: timestamp")
    (record,) = await store.read([ProfileKey("u", "p")])
    assert record.version == 1


async def test_two_gateways_whose_clocks_differ_count_a_copy_once() -> None:
    store = MemoryStore(LIMITS, lambda: clock[0])
    clock = [float(NOW_S)]
    intake = Intake(store, LIMITS, settle=lambda key: None)
    sent = feedback(300)
    assert await intake.take([sent], ITEMS, NOW_S) == ["accepted"]
    for later_s in range(9_000, 12_000, 10):
        clock[0] = float(NOW_S + later_s)
        (verdict,) = await intake.take([sent], ITEMS, NOW_S + later_s - 290)
        assert verdict != "accepted"


def test_numbers_are_packed_as_the_tables_hold_them() -> None:
    for share in (62 / 63, 0.1, 1 / 3, 61.9999999 / 63):
        taken = arrival(feedback(0, progress=share), ITEMS, NOW_S, LIMITS)
        assert taken.event.progress == float(np.float32(share))
        assert fold.values(np.array([taken.word], np.uint64))[0] == fold.packed_value(
            taken.event.action, None, np.float32(share)
        )


def test_window_is_never_negative() -> None:
    assert replace_ttl(500).max_late_s == 0


def replace_ttl(ttl_s: int) -> StoreSettings:
    return LIMITS.model_copy(update={"dedup_ttl_s": ttl_s})


def test_arrival_is_the_same_for_the_same_facts() -> None:
    one = arrival(feedback(0, event_id=None), ITEMS, NOW_S, LIMITS)
    assert replace(one, received_at_s=0) == replace(arrival(feedback(0, event_id=None), ITEMS, NOW_S, LIMITS), received_at_s=0)

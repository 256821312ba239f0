"""Events as arrays: interactions in order with their weights, and packed words as one event at a time gives them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.catalog.titles import interactions, words
from recray.errors import DataError
from recray.features import fold
from recray.schema import ACTION_OF, DEVICE_OF, EVENTS, PROFILES, Action, ProfileKey

from .conftest import NOW, moment, table_of


def events(*rows: dict[str, Any]) -> pa.Table:
    if not rows:
        return EVENTS.empty_table()
    plain = {"user_id": "u", "profile_id": "p", "content_id": "a", "action": "play", "at": NOW}
    rows = tuple({**plain, **row} for row in rows)
    columns = {name: [row.get(name) for row in rows] for name in (*plain, "value", "progress", "device")}
    return table_of("events", event_at=[moment(at) for at in columns.pop("at")], **columns)


NUMBERS = {"a": 0, "b": 1, "c": 2}


def test_interactions_are_sorted_by_profile_then_time_and_ties_keep_their_order() -> None:
    told = events(
        {"user_id": "late", "at": NOW + 9, "content_id": "a"},
        {"user_id": "x", "profile_id": "2", "at": NOW + 5, "content_id": "c"},
        {"user_id": "x", "profile_id": "1", "at": NOW + 3, "content_id": "b"},
        {"user_id": "x", "profile_id": "1", "at": NOW + 3, "content_id": "a"},
        {"user_id": "x", "profile_id": "2", "at": NOW + 4, "content_id": "b"},
        {"user_id": "x", "profile_id": "1", "at": NOW + 9, "content_id": "c"},
    )
    got, keys = interactions(told, NUMBERS, PROFILES.empty_table(), ())
    assert keys == [ProfileKey("x", "1"), ProfileKey("x", "2"), ProfileKey("late", "p")]
    assert got.profile.tolist() == [0, 0, 0, 1, 1, 2]
    assert got.item.tolist() == [1, 0, 2, 1, 2, 0]
    assert (got.at_s - NOW).tolist() == [3, 3, 9, 4, 5, 9]
    assert (got.n_profiles, got.n_items) == (3, 3)
    assert [part.dtype for part in (got.profile, got.item, got.at_s, got.weight, got.region)] == [
        np.int32,
        np.int32,
        np.int64,
        np.float32,
        np.int32,
    ]


def test_only_watching_events_of_known_titles_count() -> None:
    told = events(*({"action": name, "at": NOW + code} for name, code in ACTION_OF.items()), {"content_id": "zzz"})
    got, _ = interactions(told, NUMBERS, PROFILES.empty_table(), ())
    assert (got.at_s - NOW).tolist() == [Action.PLAY, Action.PROGRESS, Action.COMPLETE, Action.RATE]


def test_abandoned_and_badly_rated_titles_weigh_less() -> None:
    told = events(
        {"action": "rate", "value": 2.0},
        {"action": "rate", "value": 2.5},
        {"action": "play", "value": 1.0},
        {"action": "progress", "progress": 0.09},
        {"action": "progress", "progress": 0.1},
        {"action": "rate", "value": 1.0, "progress": 0.05},
        {"action": "complete"},
        {"action": "play"},
    )
    got, _ = interactions(told, NUMBERS, PROFILES.empty_table(), ())
    unknown = np.nan
    np.testing.assert_array_equal(got.weight, np.array([0.3, 1, 1, 0.2, 1, 0.2, 1, 1], np.float32))
    np.testing.assert_array_equal(got.rating, [2, 2.5, unknown, unknown, unknown, 1, unknown, unknown])
    np.testing.assert_allclose(got.progress, [unknown, unknown, unknown, 0.09, 0.1, 0.05, 1, unknown], rtol=1e-6)


def test_a_profiles_country_is_its_region_where_the_catalogue_has_it() -> None:
    people = table_of(
        "profiles",
        user_id=["u", "u", "v", "u"],
        profile_id=["p", "q", "p", "p"],
        country=["US", "FR", None, "DE"],
    )
    told = events(*({"user_id": user, "profile_id": profile} for user, profile in ("up", "uq", "vp", "wp")))
    got, keys = interactions(told, NUMBERS, people, ["DE", "US"])
    assert dict(zip(map(str, keys), got.region.tolist(), strict=True)) == {"u/p": 1, "u/q": -1, "v/p": -1, "w/p": -1}


def test_no_events_give_no_interactions_and_no_words() -> None:
    got, keys = interactions(events(), NUMBERS, PROFILES.empty_table(), ("DE",))
    assert (len(got), keys, got.n_profiles) == (0, [], 0)
    packed, kept = words(events(), NUMBERS)
    assert packed.shape == kept.shape == (0,)


sixty_thirds = st.sampled_from([np.float32(k / 63).item() for k in range(64)])
shares = st.floats(0, 1, width=32) | sixty_thirds | st.floats(-9, 9, width=32)
told_rows = st.fixed_dictionaries(
    {
        "content_id": st.sampled_from(["a", "b", "c", "unknown"]),
        "action": st.sampled_from(sorted(ACTION_OF)),
        "at": st.integers(0, 2**32 - 1),
        "value": st.none() | st.floats(-1, 12, width=32) | st.sampled_from([0.25, 0.75, 1.25, 4.75]),
        "progress": st.none() | shares,
        "device": st.none() | st.sampled_from(sorted(DEVICE_OF)),
    }
)


@settings(deadline=None)
@given(st.lists(told_rows, max_size=20))
def test_words_of_a_table_are_the_packed_events_of_its_rows(rows: list[dict[str, Any]]) -> None:
    packed, kept = words(events(*rows), NUMBERS)
    one = np.zeros(1, np.int64)
    expected = [
        fold.pack(
            one + row["at"],
            one + NUMBERS[row["content_id"]],
            one + ACTION_OF[row["action"]],
            one + DEVICE_OF[row["device"] or "other"],
            one + fold.packed_value(ACTION_OF[row["action"]], row["value"], row["progress"]),
        )[0]
        for row in rows
        if row["content_id"] in NUMBERS
    ]
    assert packed.dtype == np.uint64
    assert packed.tolist() == [int(word) for word in expected]
    assert kept.tolist() == [row["content_id"] in NUMBERS for row in rows]


@pytest.mark.parametrize("action", ["progress", "rate"])
def test_progress_at_and_beside_every_step_is_packed_as_one_event_is(action: str) -> None:
    steps = np.concatenate([*(np.arange(n + 1) / n for n in (3, 63)), [fold.FINISHED]]).astype(np.float32)
    beside = np.concatenate((np.nextafter(steps, np.float32(-1)), steps, np.nextafter(steps, np.float32(2)))).tolist()
    packed, _ = words(events(*({"action": action, "progress": share} for share in beside)), NUMBERS)
    assert fold.values(packed).tolist() == [fold.packed_value(ACTION_OF[action], None, share) for share in beside]


def test_words_of_an_action_that_is_none_are_refused() -> None:
    with pytest.raises(DataError, match="events have action sleep; expected one of impression, click, play"):
        words(events({"action": "play"}, {"action": "sleep"}), NUMBERS)

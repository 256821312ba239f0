"""Laws of the fold: the set of events decides, whatever their order, batches and repeats."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.errors import DataError
from recray.features import fold
from recray.features.fold import MAX_TITLES, N_RECENT, ProfileState
from recray.schema import UNFOLDED, WATCHING, Action, Device, Words

any_word = st.builds(
    lambda at, item, action, device, value: (at << 32) | (item << 12) | (action << 8) | (device << 6) | value,
    st.one_of(st.integers(0, 5), st.integers(1_600_000_000, 1_700_000_000), st.just((1 << 32) - 1)),
    st.one_of(st.integers(0, 8), st.just(MAX_TITLES - 1)),
    st.sampled_from([action.value for action in Action]),
    st.integers(0, 3),
    st.integers(0, 63),
)
histories = st.builds(
    # A seed draws the bulk, so that histories longer than the recent window are common and cheap.
    lambda few, seed, n: np.unique(np.concatenate((np.array(few, np.uint64), _bulk(seed, n)))),
    st.lists(any_word, max_size=20),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0, 150, 200, 201, 450]),
)


def _bulk(seed: int, n: int) -> Words:
    draw = np.random.default_rng(seed)
    return fold.pack(
        draw.integers(1_600_000_000, 1_700_000_000, n),
        draw.integers(0, 40, n),
        draw.integers(0, len(Action), n),
        draw.integers(0, 4, n),
        draw.integers(0, 64, n),
    )


def whole(events: Words) -> ProfileState:
    return fold.fold(ProfileState(), events)


@given(histories, st.randoms(use_true_random=False), st.integers(1, 60))
def test_any_order_and_batching_gives_the_same_bytes(events: Words, random: object, size: int) -> None:
    order = np.random.default_rng(random.randrange(2**32)).permutation(events.size)  # type: ignore[attr-defined]
    state = ProfileState()
    for start in range(0, events.size, size):
        state = fold.fold(fold.decode(fold.encode(state)), events[order[start : start + size]])
    assert fold.encode(state) == fold.encode(whole(events))


@given(st.lists(any_word, max_size=60), st.randoms(use_true_random=False))
def test_repeats_among_recent_events_change_nothing(few: list[int], random: object) -> None:
    events = np.array(few, np.uint64)
    again = np.array(few * 3, np.uint64)
    random.shuffle(again)  # type: ignore[attr-defined]
    state = ProfileState()
    for event in again:
        state = fold.fold(state, np.array([event], np.uint64))
    assert fold.encode(state) == fold.encode(whole(events))


@given(histories)
def test_state_is_what_the_definition_says(events: Words) -> None:
    kept = np.sort(events[~np.isin(fold.actions(events), UNFOLDED)])
    older = kept[:-N_RECENT]
    state = whole(events)
    assert np.array_equal(state.recent, kept[-N_RECENT:])
    assert np.array_equal(state.counters, fold.count(older))
    assert set(state.watched.tolist()) == set(fold.items(older[np.isin(fold.actions(older), WATCHING)]).tolist())
    assert set(state.hidden.tolist()) == set(fold.items(older[np.isin(fold.actions(older), fold.REFUSING)]).tolist())
    assert state.first_at_s == (int(fold.times(kept[:1])[0]) if kept.size else 0)


@given(histories)
def test_state_survives_its_encoding(events: Words) -> None:
    state = whole(events)
    again = fold.decode(fold.encode(state))
    for name in ProfileState.__slots__:
        assert np.array_equal(getattr(again, name), getattr(state, name)), name
        assert np.asarray(getattr(again, name)).dtype == np.asarray(getattr(state, name)).dtype, name


@given(histories, st.data())
def test_altered_bytes_are_refused_or_are_another_state(events: Words, data: st.DataObject) -> None:
    blob = bytearray(fold.encode(whole(events)))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        state = fold.decode(bytes(blob))
    except DataError:
        return
    assert fold.encode(state) == bytes(blob)


@given(histories, st.data())
def test_truncated_bytes_are_refused(events: Words, data: st.DataObject) -> None:
    blob = fold.encode(whole(events))
    with pytest.raises(DataError, match="fold it anew from the log"):
        fold.decode(blob[: data.draw(st.integers(1, len(blob) - 1))])


@given(st.binary(min_size=1, max_size=3_000))
def test_foreign_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(DataError, match="fold it anew from the log"):
        fold.decode(blob)


def numbers(*titles: int) -> Any:
    return np.array(titles, np.int32)


PLAYED = fold.pack(np.array([1_000_000_000, 1_000_100_000]), *(np.full(2, code) for code in (7, Action.PLAY, Device.TV, 0)))
"""Two events with a gap that is too long for two bytes."""


@pytest.mark.parametrize(
    "state",
    [
        ProfileState(recent=np.repeat(PLAYED[:1], 2)),
        ProfileState(recent=np.arange(N_RECENT + 1, dtype=np.uint64) + PLAYED[0]),
        ProfileState(recent=PLAYED, watched=numbers(4, 3)),
        ProfileState(recent=PLAYED, watched=numbers(4, 4)),
        ProfileState(recent=PLAYED, hidden=numbers(MAX_TITLES)),
    ],
    ids=["repeated event", "too many events", "unsorted titles", "repeated title", "no such title"],
)
def test_state_that_folding_never_gives_is_refused(state: ProfileState) -> None:
    with pytest.raises(DataError, match="is not one that was encoded: fold it anew from the log"):
        fold.decode(fold.encode(state))


def _longer(blob: bytes) -> bytes:
    """The first number, 2 events, in two groups of seven bits where one is enough."""
    assert blob[3] == 2
    return blob[:3] + b"\x82\x00" + blob[4:]


def _wider(blob: bytes) -> bytes:
    """Title numbers (both 7) in four bits where three are enough: 32 bits for two events instead of 30."""
    assert blob[-5] == 3
    words = int.from_bytes(blob[-4:], "little")
    first, second = words & 0x7FFF, words >> 15 & 0x7FFF
    spread = [(word & 7) | (word >> 3) << 4 for word in (first, second)]
    return blob[:-5] + b"\x04" + (spread[0] | spread[1] << 16).to_bytes(4, "little")


@pytest.mark.parametrize(
    "told",
    [_longer, _wider, lambda blob: blob + b"\x00", lambda blob: blob[:-1] + bytes([blob[-1] | 0x40])],
    ids=["longer number", "wider titles", "one byte more", "a bit that belongs to nothing"],
)
def test_state_told_in_another_way_is_refused(told: Callable[[bytes], bytes]) -> None:
    blob = fold.encode(ProfileState(recent=PLAYED))
    assert told(blob) != blob
    with pytest.raises(DataError, match="is not one that was encoded: fold it anew from the log"):
        fold.decode(told(blob))


def test_moments_of_no_event_are_refused() -> None:
    empty = fold.encode(ProfileState())
    with pytest.raises(DataError, match="is not one that was encoded"):
        fold.decode(empty[:7] + b"\x05" + empty[8:])


def test_no_bytes_are_an_empty_state() -> None:
    assert fold.encode(fold.decode(b"")) == fold.encode(ProfileState())


def test_later_version_is_refused_by_name() -> None:
    blob = bytearray(fold.encode(ProfileState()))
    blob[2] = 9
    message = "profile state has version 9; expected 2: fold it anew from the log"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fold.decode(bytes(blob))


def test_two_hundred_events_of_typical_spacing_fit_the_budget() -> None:
    draw = np.random.default_rng(5)
    # Evenings of several events, then one to four days of nothing: one gap in five is too long for two bytes.
    gaps = np.where(
        np.arange(N_RECENT) % 5 == 0, draw.integers(86_400, 4 * 86_400, N_RECENT), draw.integers(60, 7_200, N_RECENT)
    )
    events = fold.pack(
        1_600_000_000 + np.cumsum(gaps),
        draw.integers(0, 15_000, N_RECENT),
        np.full(N_RECENT, Action.PROGRESS),
        np.full(N_RECENT, Device.TV),
        draw.integers(0, 64, N_RECENT),
    )
    assert len(whole(events).recent) == N_RECENT
    assert len(fold.encode(whole(events))) <= 1_536


def test_two_hundred_events_a_day_apart_fit_the_budget_even_in_a_catalogue_of_a_million() -> None:
    draw = np.random.default_rng(5)
    for n_titles in (15_000, 1 << 20):
        events = fold.pack(
            1_600_000_000 + np.cumsum(draw.integers(80_000, 90_000, 2 * N_RECENT)),
            draw.integers(0, n_titles, 2 * N_RECENT),
            np.full(2 * N_RECENT, Action.PROGRESS),
            draw.integers(0, 4, 2 * N_RECENT),
            draw.integers(0, 64, 2 * N_RECENT),
        )
        state = whole(events)
        bare = ProfileState(state.recent, state.counters, first_at_s=state.first_at_s)
        assert len(bare.recent) == N_RECENT
        assert len(fold.encode(bare)) <= 1_536


def test_folding_leaves_the_argument_as_it_is() -> None:
    before = whole(_bulk(1, 300))
    bytes_before = fold.encode(before)
    fold.fold(before, _bulk(2, 300))
    assert fold.encode(before) == bytes_before


def test_impressions_and_searches_flush_nothing() -> None:
    seen = fold.pack(
        np.arange(1_000) + 1_700_000_000, np.zeros(1_000), np.full(1_000, Action.IMPRESSION), np.zeros(1_000), np.zeros(1_000)
    )
    state = whole(_bulk(1, 100))
    assert fold.encode(fold.fold(state, seen)) == fold.encode(state)


@given(any_word)
def test_packed_event_comes_apart_as_it_was_put_together(event: int) -> None:
    words = np.array([event], np.uint64)
    parts = (fold.times(words), fold.items(words), fold.actions(words), fold.devices(words), fold.values(words))
    assert fold.pack(*parts) == words


def test_packed_events_sort_by_time_first() -> None:
    early = fold.pack(*(np.array([v]) for v in (100, MAX_TITLES - 1, 15, 3, 63)))
    late = fold.pack(*(np.array([v]) for v in (101, 0, 0, 0, 0)))
    assert early < late


@pytest.mark.parametrize("item", [-1, MAX_TITLES])
def test_title_number_that_would_spill_into_the_time_is_refused(item: int) -> None:
    message = f"title number {item} cannot be packed; expected 0..{MAX_TITLES - 1}: number the titles anew"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fold.pack(*(np.array([v]) for v in (100, item, 2, 0, 0)))


@pytest.mark.parametrize(
    ("action", "rating", "progress", "stars", "share"),
    [
        (Action.RATE, 4.5, None, 4.5, 1.0),
        (Action.RATE, 0.5, 0.5, 0.5, 1 / 3),
        (Action.RATE, 9.0, 2.0, 5.0, 1.0),
        (Action.RATE, None, None, None, 1.0),
        (Action.RATE, float("nan"), float("nan"), None, 1.0),
        (Action.COMPLETE, None, None, None, 1.0),
        (Action.COMPLETE, None, 0.95, None, 59 / 63),
        (Action.PLAY, None, None, None, 0.0),
        (Action.PROGRESS, None, -1.0, None, 0.0),
        (Action.PROGRESS, None, float("nan"), None, 0.0),
        (Action.PROGRESS, None, 1.0, None, 1.0),
        (Action.PROGRESS, None, 0.9, None, 57 / 63),  # finished stays finished
        (Action.PROGRESS, None, 0.899, None, 56 / 63),
        (Action.RATE, 4.0, 0.9, 4.0, 1.0),
        (Action.RATE, 4.0, 0.89, 4.0, 2 / 3),
    ],
)
def test_value_bits_hold_stars_and_progress(
    action: Action, rating: float | None, progress: float | None, stars: float | None, share: float
) -> None:
    value = fold.packed_value(action, rating, progress)
    assert 0 <= value < 64
    words = fold.pack(*(np.array([v]) for v in (100, 1, action, 0, value)))
    assert fold.progress(words)[0] == np.float32(share)
    assert fold.ratings(words)[0] == stars if stars else np.isnan(fold.ratings(words)[0])


def test_counters_count_by_action_device_daypart_and_weekend() -> None:
    monday, saturday = 4 * 86_400, 2 * 86_400  # 1970-01-01 was a Thursday
    at = np.array([monday, monday + 3 * 3_600, saturday + 23 * 3_600])
    actions = np.array([Action.PLAY, Action.PLAY, Action.RATE])
    parts = fold.sections(fold.count(fold.pack(at, np.arange(3), actions, np.array([1, 2, 2]), np.zeros(3))))
    assert parts["actions"].tolist() == [0, 0, 2, 0, 0, 1] + [0] * 10
    assert parts["devices"].tolist() == [0, 1, 2, 0]
    assert parts["dayparts"].tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    assert parts["weekend"].tolist() == [1]

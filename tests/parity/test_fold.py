"""One event log through both paths: what serving folds as events arrive, what training folds from the log afterwards."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.profiles import Profiles, columns
from recray.schema import Action, Device, ProfileSettings, Words
from recray.stores.online import ProfileRecord

SAMPLES = Path(__file__).parent / "data"


def log(seed: int, n: int, until_s: int = 1_700_000_000) -> Words:
    draw = np.random.default_rng(seed)
    at = until_s - draw.integers(0, 300 * 86_400, n)
    item, action, device, value = (draw.integers(0, bound, n) for bound in (50, len(Action), 4, 64))
    return np.unique(fold.pack(at, item, action, device, value))


def online(arriving: Words, sizes: list[int]) -> ProfileState:
    """The state as serving reads it: settled bytes, and an inbox that may be settled after any piece."""
    record, start = ProfileRecord(), 0
    for i, size in enumerate(sizes):
        inbox = record.inbox + arriving[start : start + size].astype("<u8").tobytes()
        record = ProfileRecord(state=record.state, inbox=inbox)
        if i % 2:
            record = ProfileRecord(state=fold.encode(record.folded()))
        start += size
    return ProfileRecord(state=record.state, inbox=record.inbox + arriving[start:].astype("<u8").tobytes()).folded()


def same(left: Profiles, right: Profiles) -> bool:
    return (
        left.recent.tobytes() == right.recent.tobytes()
        and left.counters.tobytes() == right.counters.tobytes()
        and all(np.array_equal(a, b) for a, b in zip(left.older_watched, right.older_watched, strict=True))
        and all(np.array_equal(a, b) for a, b in zip(left.older_hidden, right.older_hidden, strict=True))
    )


def laid(state: ProfileState) -> Profiles:
    return columns([state], [ProfileSettings()])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 199, 200, 201, 500]), st.lists(st.integers(1, 90), max_size=8))
def test_arrival_in_pieces_and_out_of_order_equals_the_log_replayed(seed: int, n: int, sizes: list[int]) -> None:
    events = log(seed, n)
    arriving = np.random.default_rng(seed + 1).permutation(events)
    assert same(laid(online(arriving, sizes)), laid(fold.fold(ProfileState(), events)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([50, 260, 500]))
def test_state_as_of_a_moment_is_the_one_serving_had_then(seed: int, n: int) -> None:
    """Events at or after the moment are in the log that training reads; they were not there when the request came."""
    events = log(seed, n)
    moment = int(np.random.default_rng(seed).choice(fold.times(events)))
    arrived = [event for event in events.tolist() if event >> 32 < moment]
    replayed = fold.fold(ProfileState(), events[fold.times(events) < moment])
    assert same(laid(online(np.array(arrived, np.uint64), [40, 40])), laid(replayed))


def pinned() -> Words:
    """310 events by arithmetic alone: one every 7 hours, every ninth after a pause of 40 days."""
    n = np.arange(310)
    at = 1_000_000_000 + 25_200 * n + 40 * 86_400 * (n // 9)
    codes = np.array([Action.PLAY, Action.COMPLETE, Action.RATE, Action.HIDE, Action.LIKE, Action.DISLIKE, Action.ADD])
    return fold.pack(at, n * 37 % 1_000, codes[n % 7], n % len(Device), n % 64)


@pytest.mark.parametrize("version", [1, 2])
def test_state_written_by_any_version_stays_readable(version: int) -> None:
    """Samples were written once and are never written again; a new layout gets a new version and a sample of its own."""
    blob = (SAMPLES / f"profile-state-v{version}.bin").read_bytes()
    state = fold.decode(blob)
    assert np.array_equal(state.recent, pinned()[-200:])
    assert np.array_equal(state.counters, fold.count(pinned()[:-200]))
    assert state.watched.size == 48
    assert state.hidden.size == 31
    assert state.first_at_s == 1_000_000_000
    assert fold.encode(state) == (SAMPLES / "profile-state-v2.bin").read_bytes()


def test_broken_fold_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a fold that keeps one event fewer is not the one that training replays."""
    events = log(3, 260)
    replayed = laid(fold.fold(ProfileState(), events))
    monkeypatch.setattr(fold, "N_RECENT", 199)
    assert not same(laid(fold.fold(ProfileState(), events)), replayed)

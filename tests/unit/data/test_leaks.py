"""An example that knows anything of its moment or later is refused, however the later knowledge got in."""

import dataclasses

import numpy as np
import pytest

from recray.data.leaks import refuse_later_items
from recray.data.replay import Draw, Moment, asked, moments
from recray.errors import DataError
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import Action, ProfileKey, ProfileSettings, Words

KEY = ProfileKey("ann", "kids")
N = 260
"""More than a state keeps with their times."""


def log() -> Words:
    n = np.arange(N)
    return fold.pack(1_000 + 100 * n, n, np.full(N, int(Action.PLAY)), np.ones(N, int), np.full(N, 40))


def replayed() -> list[Moment]:
    found = moments(KEY, log(), Draw(0, 10**9, 2, 1.0, N, 1))
    assert len(found) > 200
    return found


def planted(moment: Moment, **changed: object) -> list[Moment]:
    state = dataclasses.replace(fold.decode(moment.state), **changed)
    return [dataclasses.replace(moment, state=fold.encode(state))]


def states(found: list[Moment]) -> None:
    asked(found, [ProfileSettings()] * len(found), 10)


def test_what_is_replayed_passes() -> None:
    states(replayed())
    refuse_later_items(replayed(), replayed()[0].at_s)
    refuse_later_items([], 10**9)


@pytest.mark.parametrize("n_later", [1, 5, 59])
def test_a_state_that_was_folded_up_to_the_moment_or_beyond_is_refused(n_later: int) -> None:
    moment = replayed()[200]
    before = int(np.searchsorted(fold.times(log()), moment.at_s))
    later = fold.fold(ProfileState(), log()[: before + n_later])
    newest_s = int(fold.times(log())[before + n_later - 1])
    with pytest.raises(DataError, match=rf"ann/kids for the moment {moment.at_s} s holds an event at {newest_s} s"):
        states([*replayed()[:3], dataclasses.replace(moment, state=fold.encode(later))])


def test_one_later_event_in_the_history_is_refused() -> None:
    moment = replayed()[20]
    other = fold.pack(np.array([moment.at_s + 7]), np.array([999]), np.array([int(Action.LIKE)]), np.array([1]), np.array([0]))
    recent = np.union1d(fold.decode(moment.state).recent, other)
    with pytest.raises(DataError, match=rf"holds an event at {moment.at_s + 7} s"):
        states(planted(moment, recent=recent))


def test_a_first_event_after_the_moment_is_refused() -> None:
    moment = replayed()[0]
    with pytest.raises(DataError, match="expected events before the moment alone"):
        states(planted(moment, first_at_s=moment.at_s))


@pytest.mark.parametrize("known", ["watched", "hidden"])
def test_a_title_that_is_to_be_predicted_and_is_among_the_older_ones_is_refused(known: str) -> None:
    moment = replayed()[30]
    with pytest.raises(DataError, match=rf"ann/kids .* knows title number {moment.targets[1]}"):
        states(planted(moment, **{known: moment.targets[1:2]}))


def test_a_title_that_is_to_be_predicted_with_a_time_that_was_set_back_is_refused() -> None:
    moment = replayed()[30]
    early = fold.pack(np.array([1_001]), moment.targets[:1], np.array([int(Action.PLAY)]), np.array([1]), np.array([40]))
    with pytest.raises(DataError, match=rf"knows title number {moment.targets[0]}"):
        states(planted(moment, recent=np.union1d(fold.decode(moment.state).recent, early)))


def test_title_features_of_after_the_moment_are_refused() -> None:
    found = replayed()
    with pytest.raises(DataError, match=rf"as of {found[0].at_s + 1} s .* the moment {found[0].at_s} s of profile ann/kids"):
        refuse_later_items(found, found[0].at_s + 1)

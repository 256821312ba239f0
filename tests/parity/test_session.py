"""States as of last midnight beside states as of the moment, on the same requests."""

import dataclasses

import numpy as np
import pytest

from bundle_world import BundleWorld
from recray.data.replay import Draw, Moment, moments
from recray.data.states import words_in
from recray.errors import DataError
from recray.features import fold
from recray.schema import Action, ProfileKey, Words
from recray.stores.lake import Lake
from recray.training.session import DAY_S, as_of_midnight, compared
from recray.training.stored import Replayed


@pytest.fixture(scope="module")
def words(world: BundleWorld) -> dict[ProfileKey, Words]:
    return words_in(Lake(world.settings.lake_dir), "world")


@pytest.fixture(scope="module")
def there(world: BundleWorld, words: dict[ProfileKey, Words]) -> Replayed:
    periods = world.history.periods
    draw = Draw(periods.sources_end_s, periods.end_s + 1, 5, 1.0, 5, 1)
    found = [moment for key, own in words.items() for moment in moments(key, np.unique(own), draw)]
    return Replayed(world.bundle, world.history, found)


def test_events_of_the_same_day_are_not_in_a_daily_state() -> None:
    key, noon_s = ProfileKey("ann", "main"), 20_000 * DAY_S + DAY_S // 2
    at = np.array([noon_s - DAY_S, noon_s - DAY_S // 2, noon_s - 1])
    own = fold.pack(at, np.arange(3), np.full(3, int(Action.PLAY)), np.ones(3, int), np.zeros(3, int))
    moment = Moment(key, noon_s, 1, b"", np.array([9], np.int32), np.zeros((1, 3), np.float32), np.zeros((1, 2), np.int32))
    midnight = dataclasses.replace(moment, at_s=noon_s - DAY_S // 2)
    states = [fold.decode(one.state) for one in as_of_midnight([moment, midnight], {key: own})]
    assert [fold.items(state.recent).tolist() for state in states] == [[0], [0]]


def test_what_happened_today_changes_answers(world: BundleWorld, there: Replayed, words: dict[ProfileKey, Words]) -> None:
    found = compared(there, words, world.settings, lambda line: None)
    assert found["requests"] == len(there.moments) > 20
    assert 0 < found["returning"] <= found["requests"]
    assert found["with_events_since_midnight"] > 0
    assert set(found["models"]) >= {"sequence", "deep", "boosted", "popular"}
    for one in (model[group] for model in found["models"].values() for group in ("requests", "returning")):
        gain = one["difference"]
        assert gain["low"] <= gain["estimate"] <= gain["high"]
        assert gain["estimate"] == pytest.approx(one["every_event"] - one["daily"], abs=1e-5)
    assert any(model["requests"]["difference"]["estimate"] for model in found["models"].values())


def test_without_events_of_today_nothing_differs(world: BundleWorld, there: Replayed, words: dict[ProfileKey, Words]) -> None:
    daily = as_of_midnight(there.moments, words)
    found = compared(Replayed(there.bundle, there.history, daily), words, world.settings, lambda line: None)
    assert found["with_events_since_midnight"] == 0
    assert {model["requests"]["difference"]["estimate"] for model in found["models"].values()} == {0.0}


def test_no_moment_is_refused(world: BundleWorld, there: Replayed) -> None:
    with pytest.raises(DataError, match="no request"):
        compared(Replayed(there.bundle, there.history, []), {}, world.settings, lambda line: None)

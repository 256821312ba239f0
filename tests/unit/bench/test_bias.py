"""The truth that position bias is measured against."""

import numpy as np
import pytest

from recray.bench.bias import chances, looked, planted_chances
from recray.simulation.viewing import EXAMINED_DECAY, MOST_PLAYS
from recray.simulation.world import WorldSettings, build, truth

WORLD = WorldSettings(n_titles=120, n_profiles=150, n_events=30_000, days=40)


def test_chances_are_those_of_viewers_who_look_less_further_down_and_leave_after_two_plays() -> None:
    draws = np.random.default_rng(1)
    wished = draws.uniform(0.2, 0.9, (200, 6)).astype(np.float32)
    looks = draws.random((2_000, 200, 6)) < np.exp(-EXAMINED_DECAY * np.arange(6))
    started = looks & (draws.random(looks.shape) < wished)
    started &= np.cumsum(started, axis=2) <= MOST_PLAYS
    rate = started.mean(axis=(0, 1)) / wished.mean(axis=0)
    np.testing.assert_allclose(chances(wished), rate / rate[0], atol=0.01)


def test_where_little_is_started_only_looking_counts() -> None:
    np.testing.assert_allclose(chances(np.full((5, 6), 1e-4, np.float32)), np.exp(-EXAMINED_DECAY * np.arange(6)), atol=1e-3)


@pytest.fixture(scope="module")
def world() -> tuple[object, object]:
    return build(WORLD).tables["events"], truth(WORLD)


def test_estimated_chances_of_a_world_lie_about_the_planted_ones(world: tuple) -> None:  # type: ignore[type-arg]
    found = looked(*world, seed=1)
    np.testing.assert_allclose(found.planted, planted_chances(*world))
    low, high = found.bounds
    assert np.all((low <= found.examination.position) & (found.examination.position <= high))
    assert np.all((low[1:] < found.planted[1:] + 0.1) & (found.planted[1:] - 0.1 < high[1:]))
    rows = found.facts()["chances"]
    assert [row["position"] for row in rows] == list(range(6))
    assert rows[2]["looked_at"] == pytest.approx(np.exp(-2 * EXAMINED_DECAY), abs=1e-4)

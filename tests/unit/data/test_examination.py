"""Which places of a slate are looked at, from impressions that differ by their place alone."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recray.data.examination import COLUMNS, ORGANIC, Examination, estimate, falling, harvest
from recray.schema import EVENTS

Told = tuple[int, str, str, str | None, int | None, int | None]
"""Second, title, action, slate, row, position: of one profile."""


def log(*told: Told, user: str = "ann") -> pa.Table:
    names = ["event_at", "content_id", "action", "recommendation_id", "row", "position"]
    frame = pl.DataFrame(list(told), schema=names, orient="row").with_columns(
        user_id=pl.lit(user), profile_id=pl.lit("main"), event_at=pl.col("event_at") * 1_000
    )
    return pa.table({name: pa.array(frame[name].to_list()).cast(EVENTS.field(name).type) for name in COLUMNS})


def harvested(*told: Told) -> list[tuple[int, int, int, int, bool]]:
    return harvest(log(*told)).drop("user_id", "profile_id").rows()  # type: ignore[return-value]


def test_a_title_shown_again_at_another_place_is_a_pair() -> None:
    shown = (0, "a", "impression", "s1", 0, 4), (9, "a", "impression", "s2", 0, 1)
    assert harvested(*shown) == [(0, 4, 0, 1, False)]
    assert harvested(*shown, (20, "a", "play", "s2", 0, 1)) == [(0, 4, 0, 1, True)]
    assert harvested(*shown, (20, "a", "play", None, None, None)) == [(0, 4, 0, 1, False)]


@pytest.mark.parametrize(
    "between",
    [
        (5, "b", "play", "s1", 0, 0),
        (5, "b", "rate", None, None, None),
    ],
)
def test_whoever_watched_in_between_is_another_query(between: Told) -> None:
    assert harvested((0, "a", "impression", "s1", 0, 4), between, (9, "a", "impression", "s2", 0, 1)) == []


@pytest.mark.parametrize(
    "again",
    [
        (9, "a", "impression", "s2", 0, 4),
        (9, "a", "impression", "s1", 0, 1),
        (9, "a", "impression", None, 0, 1),
        (9, "a", "impression", "s2", 0, None),
        (9, "b", "impression", "s2", 0, 1),
        (9, "a", "click", "s2", 0, 1),
    ],
)
def test_what_is_no_pair(again: Told) -> None:
    assert harvested((0, "a", "impression", "s1", 0, 4), again) == []


def test_a_position_without_a_row_is_of_the_first_row() -> None:
    assert harvested((0, "a", "impression", "s1", None, 4), (9, "a", "impression", "s2", 0, 1)) == [(0, 4, 0, 1, False)]


def test_profiles_are_apart() -> None:
    both = pa.concat_tables([log((0, "a", "impression", "s1", 0, 4)), log((9, "a", "impression", "s2", 0, 1), user="bob")])
    assert len(harvest(both)) == 0


def test_without_impressions_every_place_counts_alike() -> None:
    found = estimate(harvest(log((0, "a", "play", None, None, None), (5, "b", "rate", "s1", 2, 7))))
    assert found == Examination()
    assert found.weights(np.array([[2, 7], [0, 0], [ORGANIC, ORGANIC]]), 10.0).tolist() == [1, 1, 1]


CHANCES = np.array([1.0, 0.8, 0.5, 0.35, 0.3])
ROWS = np.array([1.0, 0.6])


def slates(n_profiles: int, *, n_slates: int, seed: int) -> pa.Table:
    """Profiles who are shown ten titles, the liked ones on top, in two rows of five, until they start one."""
    draws = np.random.default_rng(seed)
    second = np.datetime64("2025-01-01T00:00:00", "ms").astype(int)
    rows = []
    for profile in range(n_profiles):
        liked = draws.beta(1, 4, 10)
        for slate in range(n_slates):
            order = np.argsort(-liked - draws.normal(0, 0.1, 10))
            at = [divmod(place, 5) for place in range(10)]
            looked = draws.random(10) < [ROWS[row] * CHANCES[position] for row, position in at]
            started = np.flatnonzero(looked & (draws.random(10) < 0.3 * liked[order]))[:1].tolist()
            for action, places in (("impression", range(10)), ("play", started)):
                rows += [(f"p{profile}", f"t{profile}-{order[place]}", action, f"{profile}-{slate}", *at[place],
                          second + 1_000_000 * slate + (action == "play")) for place in places]  # fmt: skip
            if started:
                break
    user, title, action, slate_id, row, position, at_ms = (list(column) for column in zip(*rows, strict=True))
    columns = [user, ["main"] * len(user), title, action, at_ms, slate_id, row, position]
    return pa.table({name: pa.array(c).cast(EVENTS.field(name).type) for name, c in zip(COLUMNS, columns, strict=True)})


def test_planted_chances_of_positions_and_rows_are_recovered() -> None:
    """Liked titles stand on top, so that the rate of starts by position falls much more steeply than looking does."""
    found = estimate(harvest(slates(3_000, n_slates=12, seed=1)))
    assert found.n_starts > 500
    np.testing.assert_allclose(found.position, CHANCES, atol=0.12)
    np.testing.assert_allclose(found.row, ROWS, atol=0.12)


def test_chances_never_rise_and_unknown_places_are_as_the_one_before() -> None:
    shown = np.full((4, 4), 1_000.0)
    shown[:, 3] = shown[3, :] = 0
    started = np.full((4, 4), 100.0)
    started[0, 1] = started[2, 1] = 50
    first, second, third, fourth = falling(shown, started)
    assert first == 1.0
    assert 0.6 < second < 0.9
    assert third == pytest.approx(second)
    assert fourth == pytest.approx(third)


def test_one_start_moves_little() -> None:
    shown = np.full((2, 2), 3.0)
    assert falling(shown, np.array([[0, 0], [1.0, 0]]))[1] > 0.8


def test_a_start_weighs_by_how_seldom_its_place_is_looked_at() -> None:
    known = Examination((1.0, 0.5, 0.25), (1.0, 0.8))
    places = np.array([[0, 0], [0, 1], [1, 1], [0, 2], [7, 9], [ORGANIC, ORGANIC]])
    np.testing.assert_allclose(known.weights(places, 10.0), [1, 2, 2.5, 4, 5, 1])
    np.testing.assert_allclose(known.weights(places, 3.0), [1, 2, 2.5, 3, 3, 1])
    assert known.weights(places, 1.0).tolist() == [1] * 6
    assert known.weights(places, 3.0).dtype == np.float32


def test_how_often_places_are_shown_is_no_sign_of_looking() -> None:
    """Down is shown twice as often as up: as many starts at either place are half the chance."""
    assert falling(np.array([[0, 8_000.0], [4_000, 0]]), np.array([[0, 800.0], [800, 0]]))[1] == pytest.approx(0.5, abs=0.01)

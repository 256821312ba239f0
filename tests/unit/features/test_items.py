"""The catalogue's arrays: numbers, licences, and tables derived once."""

import re
from typing import Any

import numpy as np
import pytest

from recray.errors import UnknownTitleError
from recray.features.items import FOREVER, LONG_AGO, N_GENRES, UNKNOWN_REGION, Items


def test_title_is_found_by_its_content_id(world: Any) -> None:
    items = world.catalogue()
    assert [items.number(f"t{i}") for i in range(items.n)] == list(range(items.n))


def test_unknown_title_is_refused_with_what_to_do(world: Any) -> None:
    message = "content_id 'nope' is not in the catalogue of 6 titles; import it and train, or check the id"
    with pytest.raises(UnknownTitleError, match=f"^{re.escape(message)}$"):
        world.catalogue().number("nope")


def with_licences(world: Any) -> Items:
    items: Items = world.catalogue(3)
    items.region_names = ("US", "FR")
    items.available_from_s = np.array([[LONG_AGO, 100, LONG_AGO], [LONG_AGO, LONG_AGO, FOREVER]])
    items.available_until_s = np.array([[FOREVER, 200, FOREVER], [FOREVER, FOREVER, FOREVER]])
    return items


def licensed(world: Any, region: str | None, now_s: int) -> list[bool]:
    return with_licences(world).licensed(region, now_s).tolist()


def test_licences_asked_for_again_are_those_of_that_moment_whatever_was_asked_before(world: Any) -> None:
    items = with_licences(world)
    moments = [150, 199, 200, 199, 100, 99, 5_000, 100, 150, -1]
    for now_s in moments:
        for region in ("US", "FR", None, "US"):
            assert items.licensed(region, now_s).tolist() == licensed(world, region, now_s), (region, now_s)
    with pytest.raises(ValueError, match="read-only"):
        items.licensed("US", 150)[0] = True


def test_without_licences_everything_may_be_shown_everywhere(world: Any) -> None:
    assert world.catalogue().licensed("XX", 0).all()


@pytest.mark.parametrize(
    ("region", "now_s", "expected"),
    [
        ("US", 99, [True, False, True]),
        ("US", 100, [True, True, True]),
        ("US", 199, [True, True, True]),
        ("US", 200, [True, False, True]),
        ("FR", 150, [True, True, False]),
    ],
)
def test_licence_begins_at_its_start_and_ends_before_its_end(world: Any, region: str, now_s: int, expected: list[bool]) -> None:
    assert licensed(world, region, now_s) == expected


@pytest.mark.parametrize("region", ["XX", "", None])
def test_unknown_region_gets_only_what_every_region_may_show(world: Any, region: str | None) -> None:
    assert world.catalogue().region(region) == UNKNOWN_REGION
    assert licensed(world, region, 150) == [True, True, False]


def test_genre_table_puts_frequent_genres_first_and_rows_sum_to_one_at_most(world: Any) -> None:
    items = world.catalogue(5)  # Action and Comedy twice, Drama once
    assert items.genre_table.shape == (5, N_GENRES)
    assert np.allclose(items.genre_table[:, :3], items.genres)
    items = world.catalogue(2)
    items.genres = np.array([[True, True, False], [False, True, False]])
    assert items.genre_table[:, :2].tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_rarity_runs_from_the_most_played_to_the_least(world: Any) -> None:
    rarity = world.catalogue().rarity
    assert rarity.dtype == np.float32
    assert rarity.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_catalogue_of_one_title_has_finite_tables(world: Any) -> None:
    items = world.catalogue(1)
    assert items.rarity.tolist() == [1.0]
    assert items.log_popularity.tolist() == [1.0]
    items = world.catalogue(1)
    items.plays = np.zeros((1, 3), np.float32)
    assert items.log_popularity.tolist() == [0.0]

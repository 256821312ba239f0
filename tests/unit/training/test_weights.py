"""What the log says of titles on lists, by hand."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import example_world as world
from recray.data.examination import ORGANIC
from recray.data.replay import Moment
from recray.features.items import LONG_AGO
from recray.schema import NO_ITEM, Ints, Objective, ProfileKey
from recray.settings import resolve
from recray.training.weights import Followed, figures_by, groups_of, points_of

NOBODY = np.zeros(world.items().n, np.bool_)
GROUPS = {"licensed": np.arange(world.items().n) == 4, "recent": NOBODY}


def _moment(targets: list[int], outcomes: list[list[float]]) -> Moment:
    places = np.full((len(targets), 2), ORGANIC, np.int32)
    return Moment(ProfileKey("1", "main"), 0, 0, b"", np.array(targets, np.int32), np.array(outcomes, np.float32), places)


def _figures(lists: list[Ints], moments: list[Moment]) -> list[dict[str, Any]]:
    items = dataclasses.replace(world.items(), duration_s=np.full(world.items().n, 5_400, np.float32))
    return figures_by(lists, Followed.of(moments), items, GROUPS, resolve({}))  # type: ignore[arg-type]


MOMENTS = [
    _moment([1, 2, 3], [[1, 1, 0, 1], [1, 0, 1, 0.5], [1, 1, 0, 1]]),
    _moment([4], [[1, 1, 0, 1]]),
    _moment([5, 6], [[1, np.nan, np.nan, np.nan], [1, 0, 0, 0.1]]),
    _moment([7], [[1, 0, 0, 0.2]]),
]
OWN = np.array([[1, 2], [4, 9], [5, 8], [9, 8]], np.int32)
OTHER = np.array([[2, 1], [9, 4], [8, 9], [7, NO_ITEM]], np.int32)


def test_only_what_is_on_a_list_and_known_counts() -> None:
    own = _figures([OWN], MOMENTS)[0]["all"]
    assert own["starts"] == (2 + 1 + 1 + 0) / 4
    assert own["completions"] == (1 + 1 + 0 + 0) / 4
    assert own["dislikes"] == 1 / 4
    assert own["completed_minutes"] == 2 * 90 / 4
    assert own["watched_minutes"] == 2.5 * 90 / 4
    assert own["completion_rate"] == 2 / 4
    assert own["dislike_rate"] == 1 / 4
    assert own["value"] == pytest.approx((4 + 0.3 * 2 - 0.3 * 1) / 4)
    assert own["ndcg"] == 3 / 4
    assert own["share_licensed"] == pytest.approx((0 + 1 / 2 + 0 + 0) / 4)
    assert own["coverage"] == pytest.approx(6 / world.items().n)


def test_differences_are_from_the_first_request_by_request() -> None:
    other = _figures([OWN, OTHER], MOMENTS)[1]
    starts = other["all"]["difference"]["starts"]
    assert starts["estimate"] == 0  # one start lost and one gained
    assert starts["low"] < 0 < starts["high"]
    assert other["all"]["difference"]["share_licensed"] == {"estimate": 0, "low": 0, "high": 0}
    assert other["first_half"]["difference"]["starts"] == {"estimate": 0, "low": 0, "high": 0}
    assert other["second_half"]["difference"]["starts"]["estimate"] == 0


def test_a_rate_without_starts_is_unknown() -> None:
    none = np.full((4, 2), 9, np.int32)
    none[:, 1] = 8
    assert np.isnan(_figures([OWN, none], MOMENTS)[1]["all"]["completion_rate"])


def test_licensed_titles_are_a_tenth_whatever_the_catalogue_holds_and_recent_ones_have_a_date() -> None:
    n = 2_000
    ids = [f"title-{number}" for number in range(n)]
    release = np.arange(n, dtype=np.int64)
    release[::2] = LONG_AGO
    many = dataclasses.replace(world.items(), content_ids=ids, release_at_s=release)
    groups = groups_of(many)
    assert groups["licensed"].mean() == pytest.approx(0.1, abs=0.02)
    assert groups["recent"].sum() == 100
    assert np.flatnonzero(groups["recent"]).min() >= 1_800
    fewer = dataclasses.replace(many, content_ids=ids[:50], release_at_s=np.full(50, LONG_AGO))
    assert (groups_of(fewer)["licensed"] == groups["licensed"][:50]).all()
    assert not groups_of(fewer)["recent"].any()


def test_a_point_sets_every_weight_and_lifts_its_group_alone() -> None:
    items = world.items()
    by_name: Mapping[str, Any] = {(p.varied, p.factor): p for p in points_of({"start": 1.0, "completion": 0.3})}
    alone = by_name["start alone", 1.0].way(items, GROUPS)
    assert alone.slate == {"weights": {o.name.lower(): float(o == Objective.START) for o in Objective}}
    assert alone.priority is None
    lifted = by_name["priority of licensed", 1.5].way(items, GROUPS)
    np.testing.assert_allclose(lifted.priority / items.priority, np.where(GROUPS["licensed"], 1.5, 1.0), rtol=1e-6)

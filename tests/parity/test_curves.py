"""Points of the curves are what the request path answers under those settings."""

import numpy as np
import pytest

from bundle_world import BundleWorld
from recray.bundle import Bundle
from recray.data.replay import Draw, Moment, moments
from recray.data.states import words_in
from recray.settings import resolve
from recray.stores.lake import Lake
from recray.training.curves import STRENGTHS, curves
from recray.training.judge import judge
from recray.training.weights import FACTORS, points_of, weighed

UNDIVERSE = {"slate": {"diversity": 0.0}}


def replayed(world: BundleWorld) -> list[Moment]:
    periods = world.history.periods
    draw = Draw(periods.sources_end_s, periods.end_s + 1, 5, 1.0, 3, 1)
    words = words_in(Lake(world.settings.lake_dir), "world")
    return [moment for key, own in words.items() for moment in moments(key, np.unique(own), draw)][:160]


def by_trees(world: BundleWorld) -> Bundle:
    """The bundle with its tree ranker chosen: of so few examples the deep one learns next to nothing, and may hit nothing."""
    return world.bundle.ordered_by("boosted")


def test_curves_start_where_the_bundle_is_judged_and_fall_towards_what_each_method_is_for(world: BundleWorld) -> None:
    asked, bundle = replayed(world), by_trees(world)
    said: list[str] = []
    facts = curves(bundle, asked, world.profiles, world.settings, said.append)
    points = {(point["method"], point["strength"]): point["all"] for point in facts["points"]}
    plain = points["none", 0.0]
    settings = resolve({"home": str(world.settings.home), "scale": "smoke", **UNDIVERSE})
    alone = judge(bundle, asked, world.profiles, settings)["boosted"].figures
    assert plain["ndcg"] == pytest.approx(alone["ndcg@10"], abs=1e-6)
    assert plain["coverage"] == pytest.approx(alone["coverage@10"], abs=1e-6)
    assert plain["loss"] == plain["reduction"] == 0
    assert len(points) == 1 + sum(map(len, STRENGTHS.values()))
    assert points["calibration", 0.9]["miscalibration"] < 0.8 * plain["miscalibration"]
    for method in ("mmr", "dpp"):
        assert points[method, 0.7]["diversity"] > points[method, 0.05]["diversity"]
    halves = [facts["points"][0][half]["ndcg"] for half in ("first_half", "second_half")]
    assert np.mean(halves) == pytest.approx(plain["ndcg"], abs=1e-6)
    calibrated = {"slate": {"diversity": 0.5, "diversity_by": "calibration"}}
    settings = resolve({"home": str(world.settings.home), "scale": "smoke", **calibrated})
    alone = judge(bundle, asked, world.profiles, settings)["boosted"].figures
    # A first pass leaves other candidates for another slate: what was ranked for one must not be taken for the other's.
    assert points["calibration", 0.5]["ndcg"] == pytest.approx(alone["ndcg@10"], abs=1e-6)
    assert said == [f"asked {len(asked)} requests at {len(points)} points"]


def test_weights_start_where_the_bundle_is_judged_and_move_lists_towards_what_they_weigh(world: BundleWorld) -> None:
    asked, bundle = replayed(world), by_trees(world)
    facts = weighed(bundle, asked, world.profiles, world.settings, lambda _: None)
    first, *others = facts["points"]
    alone = judge(bundle, asked, world.profiles, world.settings)["boosted"].figures
    assert first["varied"] == "default"
    assert first["weights"] == world.settings.slate.weights
    assert first["all"]["ndcg"] == pytest.approx(alone["ndcg@10"], abs=1e-6)
    assert first["all"]["coverage"] == pytest.approx(alone["coverage@10"], abs=1e-6)
    assert first["all"]["difference"]["starts"] == {"estimate": 0, "low": 0, "high": 0}
    assert len(facts["points"]) == len(points_of({})) == 2 + 4 * 3 + 2 * len(FACTORS)
    again = next(point for point in others if point["varied"] == "both" and point["weights"]["completion"] == 0.3)
    assert again["all"]["value"] == first["all"]["value"]  # the default, by another name
    for group in ("licensed", "recent"):
        shares = [point["all"][f"share_{group}"] for point in others if point["group"] == group]
        assert first["all"][f"share_{group}"] < shares[0] <= shares[1] <= shares[2]


def test_what_is_not_served_is_judged_all_the_same_and_so_is_the_chosen_order(world: BundleWorld) -> None:
    asked = replayed(world)
    unpaid = world.unpaid()
    found, before = (judge(bundle, asked, world.profiles, world.settings) for bundle in (unpaid, by_trees(world)))
    assert set(found) - set(before) == {"by-cowatch"}
    for name, one in before.items():
        assert np.array_equal(found[name].lists, one.lists), name
    undiverse = judge(unpaid, asked, world.profiles, resolve({"home": str(world.settings.home), "scale": "smoke", **UNDIVERSE}))
    alone = found["cowatch"].lists
    full = (alone >= 0).all(axis=1)
    assert full.any()
    assert np.array_equal(undiverse["by-cowatch"].lists[full], alone[full])

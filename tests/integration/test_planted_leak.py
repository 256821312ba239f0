"""Later knowledge that somebody planted stops the step that makes examples, as a training run calls it."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import ray.data

from bundle_world import BundleWorld, made
from recray.bundle import facts, to_bytes
from recray.data.examination import Examination
from recray.data.examples import propose
from recray.data.replay import Draw, Moment, moments
from recray.data.states import state_of, words_in
from recray.features import fold
from recray.features.items import Items
from recray.stores.lake import Lake


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> BundleWorld:
    return made(tmp_path_factory, "leak")


def replayed(world: BundleWorld) -> list[Moment]:
    periods = world.history.periods
    draw = Draw(periods.sources_end_s, periods.end_s + 1, 5, 1.0, 2, 1)
    words = words_in(Lake(world.settings.lake_dir), "world")
    return [moment for key, own in words.items() for moment in moments(key, np.unique(own), draw)]


def examples(world: BundleWorld, found: list[Moment], items: Items) -> list[dict[str, Any]]:
    """Rows of the step, from moments as `replay` gives them."""
    columns = {
        "draw": ["train"] * len(found), "user_id": [one.key.user_id for one in found],
        "profile_id": [one.key.profile_id for one in found], "at_s": [one.at_s for one in found],
        "device": [one.device for one in found], "state": [one.state for one in found],
        "targets": [one.targets.tobytes() for one in found], "outcomes": [one.outcomes.tobytes() for one in found],
        "places": [one.places.tobytes() for one in found],
    }  # fmt: skip
    proposer = {
        "files": ray.put(to_bytes(items, world.bundle.titles, world.bundle.sources, {})), "manifest": facts(),
        "examination": Examination(),
        "settings": (world.settings.sources, world.settings.examples), "profiles": ray.put(world.profiles), "seed": 1,
    }  # fmt: skip
    rows: list[dict[str, Any]] = propose(ray.data.from_arrow(pa.table(columns)), proposer).take_all()
    return rows


def test_examples_are_made_of_what_was_known(world: BundleWorld) -> None:
    assert examples(world, replayed(world), world.bundle.items)


def test_a_state_folded_beyond_its_moment_stops_the_run(world: BundleWorld) -> None:
    found = replayed(world)
    own = words_in(Lake(world.settings.lake_dir), "world")[found[3].key]
    found[3] = dataclasses.replace(found[3], state=state_of(own[fold.times(own) <= found[3].at_s]))
    with pytest.raises(Exception, match=rf"profile {found[3].key} for the moment {found[3].at_s} s holds an event at"):
        examples(world, found, world.bundle.items)


def test_title_features_of_the_end_of_the_set_stop_the_run(world: BundleWorld) -> None:
    late = dataclasses.replace(world.bundle.items, as_of_s=world.history.periods.end_s)
    with pytest.raises(Exception, match=rf"title features as of {late.as_of_s} s are joined to the moment"):
        examples(world, replayed(world), late)

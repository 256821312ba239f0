"""Assignment: stable, balanced, minimal in its moves, exclusive within layers, independent across them."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recray.errors import ConfigError
from recray.experiments.assign import Assignment, Experiment, Experiments, assign
from recray.schema import ProfileKey

KEYS = [ProfileKey(f"user-{n}", "main") for n in range(20_000)]


def experiment(weights=(1, 1), **fields) -> Experiment:
    arms = {name: {"weight": weight} for name, weight in zip("abcd", weights, strict=False)}
    return Experiment.model_validate({"name": "x", "salt": "salt-x", "status": "running", "arms": arms} | fields)


def arms_of(one: Experiment) -> np.ndarray:
    return np.array([assign(key, one) for key in KEYS])


def write(path: Path, *experiments) -> Path:
    file = path / "experiments.yaml"
    file.write_text(yaml.safe_dump(list(experiments), sort_keys=False))
    return file


def entry(name, **fields):
    return {"name": name, "salt": f"salt-{name}", "status": "running", "arms": {"a": {}, "b": {}}} | fields


def test_the_packaged_default_splits_deep_and_boosted_evenly():
    given = Experiments.load().assign_batch(KEYS)
    counts = Counter(assignment.ranker for assignment in given)
    assert set(counts) == {"deep", "boosted"}
    assert stats.chisquare(list(counts.values())).pvalue > 0.001
    assert all(a.arms == {"ranker": a.ranker} and a.bundle == "champion" and a.slate == {} for a in given)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 5), (0.01, 0.99), (3, 0, 1)])
def test_shares_follow_the_weights(weights):
    counts = Counter(arms_of(experiment(weights)))
    named = [(counts[name], weight) for name, weight in zip("abcd", weights, strict=False) if weight]
    expected = np.array([weight for _, weight in named]) * len(KEYS) / sum(weights)
    assert stats.chisquare([count for count, _ in named], expected).pvalue > 0.001
    assert sum(count for count, _ in named) == len(KEYS)


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=4),
    arm=st.integers(0, 3),
    factor=st.floats(1.1, 5),
)
def test_raising_a_weight_moves_units_only_into_that_arm(weights, arm, factor):
    arm %= len(weights)
    raised = [weight * factor if n == arm else weight for n, weight in enumerate(weights)]
    before, after = experiment(weights), experiment(raised)
    for key in KEYS[:200]:
        old, new = assign(key, before), assign(key, after)
        assert new in (old, "abcd"[arm])


def test_raising_a_weight_moves_no_more_than_its_share_needs():
    moved = np.mean(arms_of(experiment((2, 1, 1))) != arms_of(experiment((1, 1, 1))))
    assert moved == pytest.approx(1 / 2 - 1 / 3, abs=0.01)


def test_another_process_with_another_hash_seed_agrees():
    code = (
        "from recray.experiments.assign import Experiments; from recray.schema import ProfileKey;"
        "print(''.join(a.ranker[0] for a in Experiments.load().assign_batch("
        "[ProfileKey(f'user-{n}', 'main') for n in range(300)])))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "".join(a.ranker[0] for a in Experiments.load().assign_batch(KEYS[:300]))


def test_assignments_never_change_between_releases():
    letters = "".join(assign(key, experiment((1, 1, 1))) for key in KEYS[:24])
    assert letters == "cbcacbccaaccacbacababbac"


def test_experiments_with_other_salts_are_independent(tmp_path):
    one, other = arms_of(experiment()), arms_of(experiment(salt="another"))
    table = [[np.sum((one == a) & (other == b)) for b in "ab"] for a in "ab"]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_experiments_of_one_layer_never_share_a_unit_and_fill_their_traffic(tmp_path):
    file = write(tmp_path, entry("first", traffic=[0.0, 0.3]), entry("second", traffic=[0.3, 1.0]))
    met = Counter(tuple(assignment.arms) for assignment in Experiments.load(file).assign_batch(KEYS))
    assert set(met) == {("first",), ("second",)}
    assert met["first",] / len(KEYS) == pytest.approx(0.3, abs=0.015)


def test_experiments_of_different_layers_are_orthogonal(tmp_path):
    file = write(tmp_path, entry("first", layer="one", traffic=[0.0, 0.5]), entry("second", layer="two", traffic=[0.0, 0.5]))
    met = Counter(tuple(assignment.arms) for assignment in Experiments.load(file).assign_batch(KEYS))
    assert stats.chisquare([met[()], met["first",], met["second",], met["first", "second"]]).pvalue > 0.001


def test_widening_traffic_keeps_everyone_who_was_in():
    narrow, wide = experiment(traffic=(0.0, 0.2)), experiment(traffic=(0.0, 0.4))
    assert all(wide.admits(key) for key in KEYS if narrow.admits(key))


def test_the_user_holdout_always_gets_the_control_and_is_named(tmp_path):
    file = write(tmp_path, entry("x", user_holdout_share=0.1, arms={"a": {"weight": 0}, "b": {}}))
    given = Experiments.load(file).assign_batch(KEYS)
    held = [assignment for assignment in given if assignment.in_user_holdout]
    assert len(held) / len(KEYS) == pytest.approx(0.1, abs=0.01)
    assert {assignment.arms["x"] for assignment in held} == {"a"}
    assert {assignment.arms["x"] for assignment in given if not assignment.in_user_holdout} == {"b"}


def test_the_user_holdout_holds_the_same_users_in_every_experiment_and_all_their_profiles():
    one, other = experiment(user_holdout_share=0.1), experiment(user_holdout_share=0.2, salt="another")
    assert all(other.holds_out(key.user_id) for key in KEYS if one.holds_out(key.user_id))
    held = next(key.user_id for key in KEYS if one.holds_out(key.user_id))
    assert {assign(ProfileKey(held, f"profile-{n}"), one) for n in range(20)} == {"a"}


def test_the_unit_user_gives_every_profile_of_a_user_the_same_arm_and_the_unit_profile_does_not():
    household = [ProfileKey("user-1", f"profile-{n}") for n in range(30)]
    assert len({assign(key, experiment(unit="user")) for key in household}) == 1
    assert len({assign(key, experiment(unit="profile")) for key in household}) == 2


@pytest.mark.parametrize("status", ["draft", "stopped"])
def test_an_experiment_that_does_not_run_changes_nothing(tmp_path, status):
    file = write(tmp_path, entry("x", status=status, arms={"a": {"bundle": "challenger"}, "b": {"ranker": "boosted"}}))
    assert set(map(repr, Experiments.load(file).assign_batch(KEYS[:100]))) == {repr(Assignment())}


def test_arms_of_several_layers_are_combined(tmp_path):
    file = write(
        tmp_path,
        entry("models", layer="one", arms={"a": {"bundle": "challenger"}, "b": {"weight": 0}}),
        entry("spread", layer="two", arms={"a": {"slate": {"diversity": 0.3}}, "b": {"weight": 0}}),
        entry("mix", layer="three", arms={"a": {"slate": {"weights": {"start": 2.0}}}, "b": {"weight": 0}}),
    )
    assert Experiments.load(file).assign_batch(KEYS[:1]) == [
        Assignment(
            {"models": "a", "spread": "a", "mix": "a"}, "challenger", None, {"diversity": 0.3, "weights": {"start": 2.0}}
        )
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"statu": "running"}, "0.statu: Extra inputs are not permitted, got 'running'"),
        ({"arms": {"a": {"weight": -1}, "b": {}}}, "0.arms.a.weight: Input should be greater than or equal to 0, got -1"),
        ({"arms": {"a": {"ranker": "tree"}, "b": {}}}, "0.arms.a.ranker: Input should be 'deep' or 'boosted', got 'tree'"),
        ({"arms": {"a": {"slate": {"diversty": 1}}, "b": {}}}, "diversty"),
        ({"arms": {"a": {}}}, "0.arms: Dictionary should have at least 2 items"),
        ({"arms": {"a": {"weight": 0}, "b": {"weight": 0}}}, "every arm has weight 0"),
        ({"traffic": [0.5, 0.5]}, "traffic (0.5, 0.5) is empty"),
        ({"user_holdout_share": 1.5}, "0.user_holdout_share: Input should be less than or equal to 1, got 1.5"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Experiments.load(write(tmp_path, entry("x") | wrong))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"name": "x"}, {"name": "x", "salt": "y"}, "experiments have the names ['x', 'x']; each needs a name of its own"),
        ({"salt": "y"}, {"salt": "y"}, "experiments have the salts ['y', 'y']; each needs a salt of its own"),
        ({}, {}, "running experiments 'x' and 'z' overlap in layer 'default': traffic (0.0, 1.0) and (0.0, 1.0)"),
        (
            {"traffic": [0, 0.5]},
            {"traffic": [0.5, 1], "unit": "user"},
            "running experiments 'x' and 'z' share the layer 'default' but not the unit",
        ),
        (
            {"arms": {"a": {}, "b": {"slate": {"diversity": 0.1}}}},
            {"layer": "two", "arms": {"a": {"slate": {"diversity": 0.2}}, "b": {}}},
            "running experiments 'x' and 'z' lie in different layers and both change ['slate.diversity']",
        ),
    ],
)
def test_experiments_that_contradict_each_other_are_refused(tmp_path, first, second, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Experiments.load(write(tmp_path, entry("x") | first, entry("z") | second))


def test_a_missing_file_and_one_that_is_no_list_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(f"experiments file {tmp_path / 'none.yaml'} cannot be read")):
        Experiments.load(tmp_path / "none.yaml")
    (tmp_path / "map.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match="Input should be a valid tuple"):
        Experiments.load(tmp_path / "map.yaml")


def test_an_empty_file_runs_no_experiment(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert Experiments.load(tmp_path / "empty.yaml").assign_batch(KEYS[:2]) == [Assignment(), Assignment()]

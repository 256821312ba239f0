"""Search space files name settings that exist, with values they accept."""

import re
from pathlib import Path

import pytest

from recray.errors import ConfigError
from recray.settings import Settings
from recray.training.space import Domain, Space, decoded, encoded, read_space, with_differences

FILES = sorted((Path(__file__).parents[3] / "tune_configs").glob("*.yaml"))


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def test_there_is_a_space_for_each_model_and_a_short_one() -> None:
    assert [path.stem for path in FILES] == ["boosted", "deep", "sequence", "smoke"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_path_and_value_of_the_shipped_spaces_is_a_setting(path: Path) -> None:
    space = read_space(path)
    for name, domain in space.space.items():
        section, knob = name.split(".")
        for value in domain.edges():
            changed = with_differences(Settings(), {section: {knob: value}})
            got = getattr(getattr(changed, section), knob)
            assert type(got) is type(getattr(getattr(Settings(), section), knob))
            assert got == (tuple(value) if isinstance(value, list) else value)


def test_config_of_a_trial_becomes_settings_differences() -> None:
    space = Space.model_validate(
        {
            "model": "deep",
            "metric": "ndcg",
            "space": {"deep.hidden": {"choice": [[8, 4], [4]]}, "deep.dropout": {"uniform": [0, 0.5]}},
        }
    )
    config = {"deep.hidden": encoded([8, 4]), "deep.dropout": 0.2}
    assert space.differences(config) == {"deep": {"hidden": [8, 4], "dropout": 0.2}}


@pytest.mark.parametrize("choice", [3, 0.5, "word", [1, 2], True])
def test_choices_survive_the_sampler(choice: object) -> None:
    assert decoded(encoded(choice)) == choice


def test_edges_are_what_sampling_can_reach() -> None:
    assert Domain(randint=(3, 9)).edges() == [3, 8]
    assert Domain(loguniform=(0.1, 1)).edges() == [0.1, 1]
    assert Domain(choice=[1, 5]).edges() == [1, 5]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{deep.lerning_rate: {uniform: [0.1, 0.2]}}", "deep.lerning_rate: Extra inputs are not permitted"),
        ("{deep.dropout: {uniform: [0.1, 1.2]}}", "deep.dropout: Input should be less than or equal to 1"),
        ("{deep.hidden: {choice: [[8, 0]]}}", "deep.hidden.1: Input should be greater than or equal to 1"),
        ("{deep.dropout: {uniform: [0.2, 0.1]}}", "the lower bound must be below the upper"),
        ("{deep.dropout: {uniform: [0.1, 0.2], choice: [1]}}", "give exactly one of loguniform, uniform, randint, choice"),
        ("{deep.dropout: {between: [0.1, 0.2]}}", "Extra inputs are not permitted"),
        ("{boosted.max_depth: {randint: [1, 4]}}", "a search of deep can vary deep.* only"),
        ("{}", "Dictionary should have at least 1 item"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path: Path, space: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_space(_write(tmp_path, f"model: deep\nmetric: ndcg\nspace: {space}\n"))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"search space {tmp_path / 'none.yaml'} cannot be read")):
        read_space(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", [path for path in FILES if path.stem != "smoke"], ids=lambda path: path.stem)
def test_shipped_spaces_hold_the_defaults_as_a_first_trial(path: Path) -> None:
    space = read_space(path)
    starting = space.starting(Settings())
    assert starting is not None
    assert with_differences(Settings(), space.differences(starting)) == Settings()


def test_settings_outside_of_a_space_start_no_trial() -> None:
    space = read_space(next(path for path in FILES if path.stem == "smoke"))
    assert space.starting(Settings()) is None
    inside = with_differences(Settings(), {"deep": {"hidden": [64, 32]}})
    assert space.starting(inside) == {"deep.learning_rate": Settings().deep.learning_rate, "deep.hidden": "[64, 32]"}
    outside = with_differences(inside, {"deep": {"learning_rate": 0.1}})
    assert space.starting(outside) is None


def test_the_upper_end_of_whole_numbers_is_outside() -> None:
    whole = Domain(randint=(3, 9))
    assert [value for value in range(12) if whole.holds(value)] == [3, 4, 5, 6, 7, 8]

"""Settings: unknown names, bounds, scales, environment, and secrets."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from recray.errors import ConfigError
from recray.settings import SCALES, Settings, knobs, load, merge, resolve
from recray.settings.resolve import _FROM_ENVIRONMENT


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def at(settings: Settings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_unknown_name_is_refused_with_its_path() -> None:
    message = "settings are not usable: deep.hiden: Extra inputs are not permitted, got [8]"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve({"deep": {"hiden": [8]}})


def test_value_out_of_bounds_is_refused_with_its_bound() -> None:
    message = "settings are not usable: slate.diversity: Input should be less than or equal to 1, got 1.5"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve({"slate": {"diversity": 1.5}})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"deep\.epochs.*serving\.port"):
        resolve({"deep": {"epochs": 0}, "serving": {"port": 70_000}})


def test_unknown_scale_is_refused_with_the_choices() -> None:
    message = "scale is 'huge'; expected one of smoke, laptop, cluster"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve({"scale": "huge"})


@pytest.mark.parametrize("scale", SCALES)
def test_each_difference_of_a_scale_resolves(scale: str) -> None:
    resolved = resolve({"scale": scale})
    for path, value in leaves(SCALES[scale]):  # type: ignore[index]
        assert at(resolved, path) == value, path


def test_what_a_scale_does_not_name_stays_at_its_default() -> None:
    smoke, laptop = (dict(leaves(resolve({"scale": scale}).model_dump())) for scale in ("smoke", "laptop"))
    changed = {path for path in laptop if smoke[path] != laptop[path]}
    assert changed == {path for path, _ in leaves(SCALES["smoke"])} | {"scale"}


def test_a_difference_lies_over_its_scale() -> None:
    resolved = resolve({"scale": "smoke", "deep": {"epochs": 3}})
    assert resolved.deep.epochs == 3
    assert resolved.boosted.n_trees == SCALES["smoke"]["boosted"]["n_trees"]


def test_environment_wins_over_the_file_and_keywords_over_both(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("scale: smoke\nserving: {port: 9000, host: 0.0.0.0}\n")
    assert load(file, {}).serving.port == 9000
    from_environment = load(file, {"RECRAY_PORT": "9001"})
    assert (from_environment.serving.port, from_environment.serving.host, from_environment.scale) == (9001, "0.0.0.0", "smoke")
    assert load(file, {"RECRAY_PORT": "9001"}, serving={"port": 9002}).serving.port == 9002


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("scale: smoke\n")
    assert load(None, {"RECRAY_SETTINGS": str(file)}).scale == "smoke"


@pytest.mark.parametrize(("name", "path"), _FROM_ENVIRONMENT.items())
def test_every_variable_of_the_environment_reaches_its_setting(name: str, path: str) -> None:
    given = {"scale": "smoke", "serving.topology": "composed", "serving.port": "8123"}.get(path, "given")
    assert str(at(load(None, {name: given}), path)) == given
    assert name in (load.__doc__ or "")


def test_empty_environment_variable_counts_as_absent() -> None:
    assert load(None, {"RECRAY_PORT": "", "RECRAY_SETTINGS": ""}) == Settings()


@pytest.mark.parametrize(("text", "said"), [("- a\n- b\n", "holds a list"), ("a: [", "cannot be read")])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"{re.escape(str(file))} {said}"):
        load(file, {})


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load(tmp_path / "nowhere.yaml", {})


def test_secret_is_read_but_neither_dumped_nor_printed() -> None:
    resolved = load(None, {"RECRAY_ADMIN_TOKEN": "s3cret-t0ken"})
    assert resolved.serving.admin_token == "s3cret-t0ken"
    for shown in (repr(resolved), str(resolved), resolved.model_dump_json(), str(resolved.model_dump())):
        assert "s3cret-t0ken" not in shown


def test_resolved_settings_survive_their_dump() -> None:
    resolved = resolve({"scale": "cluster"})
    assert Settings.model_validate_json(resolved.model_dump_json()) == resolved


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        resolve({}).deep.epochs = 9  # type: ignore[misc]


def test_merging_changes_neither_side() -> None:
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}
    assert merge(base, over) == {"a": {"b": 3, "c": 2}}
    assert base == {"a": {"b": 1, "c": 2}}
    assert over == {"a": {"b": 3}}


def test_every_group_of_settings_refuses_unknown_names() -> None:
    groups = [
        kind
        for kind in vars(knobs).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel
    ]
    assert len(groups) > 10
    for kind in groups:
        assert kind.model_config.get("extra") == "forbid", kind
        assert kind.model_config.get("frozen") is True, kind

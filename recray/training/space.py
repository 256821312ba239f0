"""What a search space file says: which settings vary, over which values, judged by which metric. Knows nothing of Ray."""

import json
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from recray.errors import ConfigError
from recray.settings import Count, Knobs, Settings, merge, resolve

Number = int | float


class Domain(Knobs):
    """The values one setting may take: exactly one of the four. Upper ends are included except for `randint`."""

    loguniform: tuple[Annotated[float, Field(gt=0)], float] | None = None
    uniform: tuple[float, float] | None = None
    randint: tuple[int, int] | None = None
    choice: Annotated[list[Any], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}; got {given or 'none'}")
        bounds = self.loguniform or self.uniform or self.randint
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"the lower bound must be below the upper; got {bounds}")
        return self

    def edges(self) -> list[Any]:
        """Every choice, or the least and the largest value."""
        if self.choice is not None:
            return self.choice
        if self.randint is not None:
            return [self.randint[0], self.randint[1] - 1]
        return list(self.loguniform or self.uniform or ())

    def holds(self, value: Any) -> bool:
        """Whether sampling can reach a value."""
        if self.choice is not None:
            return value in self.choice
        least, largest = self.edges()
        return bool(least <= value <= largest)


class Scheduler(Knobs):
    """When a trial stops early. `max_t` None: as many epochs as the model's settings allow."""

    kind: Literal["asha", "fifo"] = "asha"
    grace_period: Count = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    max_t: Count | None = None


class Space(Knobs):
    """One search. Keys of `space` name settings by path, as in `deep.learning_rate`; `n_trials` None: as the settings say."""

    model: Literal["deep", "boosted", "sequence"]
    metric: str
    mode: Literal["max", "min"] = "max"
    n_trials: Count | None = None
    search: Literal["optuna", "random"] = "optuna"
    scheduler: Scheduler = Scheduler()
    space: Annotated[dict[str, Domain], Field(min_length=1)]

    def differences(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings differences of one trial's config."""
        found: dict[str, Any] = {}
        for path in self.space:
            found = merge(found, _nest(path, decoded(config[path])))
        return found

    def starting(self, settings: Settings) -> dict[str, Any] | None:
        """The config of a trial that changes nothing of `settings`; None where the space does not hold them."""
        given = settings.model_dump(mode="json")
        values = {path: reduce(getitem, path.split("."), given) for path in self.space}
        held = all(domain.holds(values[path]) for path, domain in self.space.items())
        return {path: encoded(value) for path, value in values.items()} if held else None


def encoded(choice: Any) -> Any:
    """A choice as samplers take it: a list becomes JSON text, since categories must be scalars."""
    return json.dumps(choice) if isinstance(choice, list) else choice


def decoded(value: Any) -> Any:
    """Undo `encoded`."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _nest(path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: _nest(rest, value) if rest else value}


def with_differences(settings: Settings, differences: Mapping[str, Any]) -> Settings:
    """Settings with some values replaced.

    Raises:
        ConfigError: a difference names no setting, or a value is out of bounds.
    """
    return resolve(merge(settings.model_dump(mode="json"), differences))


def read_space(path: Path) -> Space:
    """The search space of a YAML file, every path and edge tried against the settings.

    Raises:
        ConfigError: the file is missing, is no search space, or names settings or values that do not exist.
    """
    try:
        space = Space.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as problem:
        raise ConfigError(
            f"search space {path} cannot be read: {problem}; give a YAML file like those in tune_configs"
        ) from problem
    except ValidationError as problem:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in problem.errors())
        raise ConfigError(f"search space {path} is not usable: {faults}") from problem
    for name, domain in space.space.items():
        if not name.startswith(f"{space.model}."):
            raise ConfigError(f"search space {path} varies {name}; a search of {space.model} can vary {space.model}.* only")
        for value in domain.edges():
            with_differences(Settings(), _nest(name, value))
    return space

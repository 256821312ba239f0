"""Which arm a profile meets: from an experiments file and a keyed hash, without state, the same on every replica and day.

A unit is hashed three times, each with a key of its own. Once per layer: the unit's place in [0, 1) says which experiment of
the layer it enters, so experiments of one layer exclude each other and layers are independent [Tang2010]. Once for the
user holdout. Once per arm: weighted rendezvous hashing [Thaler1998] gives each arm its share, and a weight that changes
moves only the units that must move, whichever arm's it is; ranges laid end to end move bystanders with three arms.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from recray.errors import ConfigError
from recray.schema import ProfileKey
from recray.settings import Knobs, Share, SlateSettings, merge

CHAMPION: Final = "champion"
RankerName = Literal["deep", "boosted"]
DEFAULT_RANKER: Final[RankerName] = "deep"
_PACKAGED: Final = Path(__file__).with_name("default.yaml")
_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


def _key(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode()).digest()


def _place(key: bytes, unit_id: str) -> float:
    """Where a unit lies in (0, 1) under a key; the odd half keeps 0 out, whose logarithm an arm's race would need."""
    digest = hashlib.blake2b(unit_id.encode(), key=key, digest_size=6).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**48


class Arm(Knobs):
    """One side of an experiment: its share of the units, and what it changes; None and absent leave things as they are.

    `bundle` is `champion`, `challenger` or a bundle's id. `slate` holds differences to the slate settings.
    """

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    bundle: _Name | None = None
    ranker: RankerName | None = None
    slate: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _slate_is_known(self) -> Self:
        SlateSettings.model_validate(merge(SlateSettings().model_dump(), self.slate))
        return self

    def knobs(self) -> set[str]:
        """Names of what this arm changes."""
        named = {name for name in ("bundle", "ranker") if getattr(self, name) is not None}
        return named | {f"slate.{name}" for name in self.slate}


class Experiment(Knobs):
    """One experiment as the file has it. `arms` keeps the file's order; the first arm is the control.

    `traffic` is the half-open range of the layer's units that enter; `user_holdout_share` of all users always get the
    control arm, the same users in every experiment. Only a `running` experiment assigns.
    """

    name: _Name
    salt: Annotated[str, Field(min_length=1)]
    layer: _Name = "default"
    unit: Literal["user", "profile"] = "profile"
    status: Literal["draft", "running", "stopped"] = "draft"
    traffic: tuple[Share, Share] = (0.0, 1.0)
    user_holdout_share: Share = 0.0
    arms: Annotated[dict[_Name, Arm], Field(min_length=2)]

    @model_validator(mode="after")
    def _units_can_enter(self) -> Self:
        if self.traffic[0] >= self.traffic[1]:
            raise ValueError(f"traffic {self.traffic} is empty; expected a range such as [0.0, 0.5]")
        if not any(arm.weight > 0 for arm in self.arms.values()):
            raise ValueError("every arm has weight 0; give at least one a share")
        return self

    @property
    def control(self) -> str:
        """Name of the first arm."""
        return next(iter(self.arms))

    def knobs(self) -> set[str]:
        """Names of what any arm changes."""
        return {knob for arm in self.arms.values() for knob in arm.knobs()}

    @cached_property
    def _arm_keys(self) -> dict[str, tuple[bytes, float]]:
        return {name: (_key("arm", self.salt, name), arm.weight) for name, arm in self.arms.items() if arm.weight > 0}

    @cached_property
    def _layer_key(self) -> bytes:
        return _key("layer", self.layer)

    def unit_id(self, key: ProfileKey) -> str:
        """What is hashed: the user, or the profile within the user."""
        return key.user_id if self.unit == "user" else str(key)

    def admits(self, key: ProfileKey) -> bool:
        """Whether the experiment runs and the unit's place in its layer lies in `traffic`."""
        if self.status != "running" or self.traffic == (0.0, 1.0):
            return self.status == "running"
        return self.traffic[0] <= _place(self._layer_key, self.unit_id(key)) < self.traffic[1]

    def holds_out(self, user_id: str) -> bool:
        """Whether the user is in this experiment's user holdout; raising the share keeps everyone who is."""
        return self.user_holdout_share > 0 and _place(_USER_HOLDOUT, user_id) < self.user_holdout_share


_USER_HOLDOUT: Final = _key("user-holdout")


def assign(key: ProfileKey, experiment: Experiment) -> str:
    """Name the arm this profile belongs to, the same on every replica and every day.

    Hashes (salt, arm, unit) with a keyed digest; the builtin hash differs per process. A user in the user holdout
    always gets the control arm. Says nothing about whether the experiment `admits` the profile.
    """
    if experiment.holds_out(key.user_id):
        return experiment.control
    unit_id = experiment.unit_id(key)
    race = {name: -math.log(_place(arm_key, unit_id)) / weight for name, (arm_key, weight) in experiment._arm_keys.items()}
    return min(race, key=race.__getitem__)


@dataclass(slots=True, frozen=True)
class Assignment:
    """What a profile meets over all experiments.

    `arms` names the arm by experiment, without experiments that do not admit the profile. `in_user_holdout` lists those that
    gave the control arm because of the user holdout: their analysis leaves such profiles out. `ranker` is what an arm asks for,
    None where none does: the bundle's own choice. `slate` holds differences.
    """

    arms: Mapping[str, str] = field(default_factory=dict)
    bundle: str = CHAMPION
    ranker: str | None = None
    slate: Mapping[str, Any] = field(default_factory=dict)
    in_user_holdout: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Experiments:
    """Every experiment of one file, checked against each other.

    Raises:
        ConfigError: names repeat, running experiments of one layer overlap, a layer mixes units, or two layers change the
            same thing.
    """

    all: tuple[Experiment, ...]

    def __post_init__(self) -> None:
        names = [experiment.name for experiment in self.all]
        salts = [experiment.salt for experiment in self.all]
        for what, values in (("name", names), ("salt", salts)):
            if len(set(values)) < len(values):
                raise ConfigError(f"experiments have the {what}s {values}; each needs a {what} of its own")
        running = self.running
        for number, one in enumerate(running):
            for other in running[number + 1 :]:
                _refuse_conflict(one, other)

    @property
    def running(self) -> tuple[Experiment, ...]:
        """Those that assign, in the file's order."""
        return tuple(experiment for experiment in self.all if experiment.status == "running")

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read an experiments file, a YAML list; None reads the packaged default: the rankers deep and boosted, half each.

        Raises:
            ConfigError: the file is missing or no such list, or a field is unknown or out of bounds (each is named).
        """
        path = path or _PACKAGED
        try:
            found = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as problem:
            raise ConfigError(f"experiments file {path} cannot be read: {problem}; give a YAML list") from problem
        try:
            return cls(_FILE.validate_python(found if found is not None else []))
        except ValidationError as problem:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in problem.errors())
            raise ConfigError(f"experiments file {path} is not usable: {faults}") from problem

    def assign_batch(self, keys: Sequence[ProfileKey]) -> list[Assignment]:
        """Assignment of each profile, in order. Profiles with the same arms share one object."""
        made: dict[tuple[tuple[str, ...], ...], Assignment] = {}
        running, given = self.running, []
        for key in keys:
            met = [experiment for experiment in running if experiment.admits(key)]
            names = tuple(experiment.name for experiment in met)
            arms = tuple(assign(key, experiment) for experiment in met)
            held = tuple(experiment.name for experiment in met if experiment.holds_out(key.user_id))
            if (names, arms, held) not in made:
                made[names, arms, held] = self._combine(dict(zip(names, arms, strict=True)), held)
            given.append(made[names, arms, held])
        return given

    def _combine(self, arms: dict[str, str], held: tuple[str, ...]) -> Assignment:
        bundle, ranker, slate = CHAMPION, None, dict[str, Any]()
        for experiment in self.running:
            if experiment.name in arms:
                arm = experiment.arms[arms[experiment.name]]
                bundle, ranker = arm.bundle or bundle, arm.ranker or ranker
                slate = merge(slate, arm.slate)
        return Assignment(arms, bundle, ranker, slate, held)


_FILE: Final = TypeAdapter(tuple[Experiment, ...])


def _refuse_conflict(one: Experiment, other: Experiment) -> None:
    both = f"running experiments {one.name!r} and {other.name!r}"
    if one.layer == other.layer:
        if one.unit != other.unit:
            raise ConfigError(f"{both} share the layer {one.layer!r} but not the unit; a layer hashes one kind of unit")
        if one.traffic[0] < other.traffic[1] and other.traffic[0] < one.traffic[1]:
            raise ConfigError(
                f"{both} overlap in layer {one.layer!r}: traffic {one.traffic} and {other.traffic}; "
                "give them disjoint ranges or different layers"
            )
        return
    shared = one.knobs() & other.knobs()
    if shared:
        raise ConfigError(f"{both} lie in different layers and both change {sorted(shared)}; put them into one layer")

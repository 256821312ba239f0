"""From differences to settings: the scales, a YAML file, the environment. `load` is the only reader of either."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from recray.errors import ConfigError
from recray.settings.kinds import Scale
from recray.settings.knobs import Settings

SCALES: Final[Mapping[Scale, Mapping[str, Mapping[str, Any]]]] = {
    "smoke": {
        "sources": {"factors": 16, "als_iterations": 5, "n_reference_profiles": 500, "content_dim": 16},
        "sequence": {"dim": 32, "epochs": 2, "warm_epochs": 1, "max_length": 30},
        "deep": {"epochs": 2},
        "boosted": {"n_trees": 40},
        "examples": {"n_requests": 1_000, "per_profile": 5, "n_negatives": 30},
        "training": {"n_trials": 2},
        "evaluation": {"n_requests": 500, "gate_resamples": 100, "rankers_must_pay": False},
    },
    "laptop": {},
    "cluster": {
        "sequence": {
            "dim": 256,
            "blocks": 3,
            "max_length": 200,
            "epochs": 100,
            "warm_epochs": 30,
            "patience": 10,
            "batch_size": 128,
        },
        "examples": {"n_requests": 2_000_000},
        "training": {
            "n_blocks": 200,
            "n_workers": 8,
            "cpus_per_worker": 4.0,
            "use_gpu": True,
            "n_trials": 100,
            "max_concurrent_trials": 8,
        },
        "evaluation": {"n_requests": 100_000},
        "serving": {
            "topology": "composed",
            "gateway": {"min_replicas": 4, "max_replicas": 200, "cpus": 1},
            "features": {"min_replicas": 2, "max_replicas": 100, "cpus": 1},
            "candidates": {"min_replicas": 4, "max_replicas": 400, "cpus": 1},
            "ranker": {"min_replicas": 4, "max_replicas": 400, "cpus": 1},
        },
    },
}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested differences over a mapping; neither argument changes."""
    merged = dict(base)
    for key, value in over.items():
        under = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[key] = merge(under, value) if nested else value  # type: ignore[arg-type]  # narrowed by `nested`
    return merged


def resolve(differences: Mapping[str, Any]) -> Settings:
    """Settings from a mapping of differences; the scale's own differences lie beneath them.

    Raises:
        ConfigError: naming each field that is unknown, out of bounds or of another type.
    """
    scale = differences.get("scale", Settings.model_fields["scale"].default)
    if scale not in SCALES:
        raise ConfigError(f"scale is {scale!r}; expected one of {', '.join(SCALES)}")
    try:
        return Settings.model_validate(merge(SCALES[scale], differences))
    except ValidationError as problem:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in problem.errors())
        raise ConfigError(f"settings are not usable: {faults}") from problem


def load(path: Path | None, environment: Mapping[str, str], **differences: Any) -> Settings:
    """Settings from a YAML file of differences, then `RECRAY_*` environment, then keyword differences.

    Read from the environment: RECRAY_SETTINGS (the file when `path` is None), RECRAY_HOME, RECRAY_SCALE, RECRAY_STORE_URL,
    RECRAY_TOPOLOGY, RECRAY_PORT, RECRAY_EXPERIMENTS, RECRAY_ADMIN_TOKEN.

    Raises:
        ConfigError: the file is missing, is not YAML, or names what does not exist.
    """
    path = path or (Path(environment["RECRAY_SETTINGS"]) if environment.get("RECRAY_SETTINGS") else None)
    found: dict[str, Any] = {}
    if path is not None:
        try:
            found = yaml.safe_load(path.read_text()) or {}
        except (OSError, yaml.YAMLError) as problem:
            raise ConfigError(f"settings file {path} cannot be read: {problem}; give a YAML file of differences") from problem
        if not isinstance(found, dict):
            raise ConfigError(f"settings file {path} holds a {type(found).__name__}; expected a mapping of differences")
    for name, at in _FROM_ENVIRONMENT.items():
        if environment.get(name):
            found = merge(found, _nest(at, environment[name]))
    return resolve(merge(found, differences))


_FROM_ENVIRONMENT: Final = {
    "RECRAY_HOME": "home",
    "RECRAY_SCALE": "scale",
    "RECRAY_STORE_URL": "store.url",
    "RECRAY_TOPOLOGY": "serving.topology",
    "RECRAY_PORT": "serving.port",
    "RECRAY_EXPERIMENTS": "experiments_file",
    "RECRAY_ADMIN_TOKEN": "serving.admin_token",
}


def _nest(path: str, value: str) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: _nest(rest, value) if rest else value}

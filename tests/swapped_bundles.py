"""Bundles beside the first one of a bundle world: another that answers otherwise, and some that must not be let in."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from bundle_world import NOW_S
from recray.stores.registry import Registry

Files = dict[str, bytes]


def _changed(registry: Registry, bundle_id: str, hours: int, change: Callable[[Files], Files], **facts: Any) -> str:
    manifest, files = registry.read(bundle_id)
    made_at = datetime.fromtimestamp(NOW_S, UTC) + timedelta(hours=hours)
    told: Mapping[str, Any] = {name: value for name, value in manifest.items() if name not in {"files", "format_version"}}
    return registry.write(change(files), {**told, "created_at": made_at.isoformat(), **facts})


def _tensors(files: Files, file: str, **changes: Callable[[Any], Any]) -> Files:
    held = load(files[file])
    return files | {file: save(held | {name: np.ascontiguousarray(change(held[name])) for name, change in changes.items()})}


def other(registry: Registry, bundle_id: str) -> str:
    """A bundle whose sources propose other titles and whose deep ranker gives other scores."""

    def change(files: Files) -> Files:
        for source, tensors in (("popular", ("counts",)), ("trending", ("recent", "longer"))):
            turned = dict.fromkeys(tensors, lambda counts: counts[:, ::-1])
            files = _tensors(files, f"source-{source}.safetensors", **turned)
        files = _tensors(files, "source-factors.safetensors", vectors=lambda vectors: vectors[::-1])
        return _tensors(files, "ranker-deep-deep.safetensors", weight_1=lambda weight: -weight)

    return _changed(registry, bundle_id, 1, change)


def twin(registry: Registry, bundle_id: str) -> str:
    """A bundle of the same content, made later."""
    return _changed(registry, bundle_id, 30, lambda files: files)


def of_other_views(registry: Registry, bundle_id: str) -> str:
    """A sound bundle, made for feature views that this code does not have."""
    return _changed(registry, bundle_id, 2, lambda files: files, views="0" * 16)


def with_a_mad_ranker(registry: Registry, bundle_id: str) -> str:
    """Every digest fits and everything loads, but the deep ranker gives no finite number."""

    def change(files: Files) -> Files:
        return _tensors(files, "ranker-deep-deep.safetensors", bias_1=lambda bias: np.full_like(bias, np.nan))

    return _changed(registry, bundle_id, 3, change)


def truncated(registry: Registry, bundle_id: str, root: Path) -> str:
    """A copy that was cut short after it got its name."""
    made = _changed(registry, bundle_id, 40 + len(registry.ids()), lambda files: files)
    file = root / "bundles" / made / "source-popular.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return made

"""[Ray Data] Events grouped by profile and played back: replayed moments, and states as of now.

Kept apart from what proposes and ranks: tasks that shuffle events start in a second when they need not import models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import ray
import ray.data

from recray.catalog.titles import words as packed
from recray.data.replay import Draw, Moment, moments
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import Objective, ProfileKey, ProfileSettings

_COLUMNS: Final = ["event_id", "user_id", "profile_id", "content_id", "action", "event_at", "value", "progress", "device"]
_KEY: Final = ["user_id", "profile_id"]


def _by_profile(files: Sequence[str], n_blocks: int) -> Any:
    events = ray.data.read_parquet(list(files), override_num_blocks=n_blocks).select_columns(_COLUMNS)
    return events.groupby(_KEY, num_partitions=n_blocks)


def folded(files: Sequence[str], number_of: Mapping[str, int], n_blocks: int) -> "ray.data.Dataset":
    """One row per profile: user_id, profile_id, state."""
    known = {"number_of": ray.put(dict(number_of))}
    return _by_profile(files, n_blocks).map_groups(_fold_profile, fn_kwargs=known, batch_format="pyarrow")


def _fold_profile(events: pa.Table, number_of: Any) -> pa.Table:
    """All events of one profile -> its encoded state."""
    words = np.unique(packed(events, ray.get(number_of))[0])
    state = fold.encode(fold.fold(ProfileState(), words))
    return events.select(_KEY).slice(0, 1).append_column("state", pa.array([state], pa.binary()))


def _replay_profile(events: pa.Table, number_of: Any, draws: Mapping[str, Draw]) -> pa.Table:
    """All events of one profile -> one row per replayed moment of every draw, tagged with the draw's name."""
    key = ProfileKey(events["user_id"][0].as_py(), events["profile_id"][0].as_py())
    words = np.unique(packed(events, ray.get(number_of))[0])
    found = [(name, moment) for name, draw in draws.items() for moment in moments(key, words, draw)]
    return pa.table(
        {
            "draw": pa.array([name for name, _ in found], pa.string()),
            "user_id": pa.array([key.user_id] * len(found), pa.string()),
            "profile_id": pa.array([key.profile_id] * len(found), pa.string()),
            "at_s": pa.array([m.at_s for _, m in found], pa.int64()),
            "device": pa.array([m.device for _, m in found], pa.int32()),
            "state": pa.array([m.state for _, m in found], pa.binary()),
            "targets": pa.array([m.targets.tobytes() for _, m in found], pa.binary()),
            "outcomes": pa.array([m.outcomes.tobytes() for _, m in found], pa.binary()),
        }
    )


def replay(files: Sequence[str], number_of: Mapping[str, int], draws: Mapping[str, Draw], n_blocks: int) -> "ray.data.Dataset":
    """Moments of every profile in event files, as a Ray Data set with one row per moment."""
    known = {"number_of": ray.put(dict(number_of)), "draws": dict(draws)}
    return _by_profile(files, n_blocks).map_groups(_replay_profile, fn_kwargs=known, batch_format="pyarrow")


def as_moments(table: pa.Table) -> list[Moment]:
    """Rows of `replay` as objects."""
    return [
        Moment(
            ProfileKey(row["user_id"], row["profile_id"]),
            row["at_s"],
            row["device"],
            row["state"],
            np.frombuffer(row["targets"], np.int32),
            np.frombuffer(row["outcomes"], np.float32).reshape(-1, len(Objective)),
        )
        for row in table.to_pylist()
    ]


def settings_of(profiles: pa.Table) -> dict[ProfileKey, ProfileSettings]:
    """Settings of each profile of the PROFILES table."""
    found = {}
    for row in profiles.select(
        ["user_id", "profile_id", "country", "language", "age_group", "maturity_limit", "consent"]
    ).to_pylist():
        user_id, profile_id = row.pop("user_id"), row.pop("profile_id")
        consent = row.pop("consent")
        found[ProfileKey(user_id, profile_id)] = ProfileSettings(**row, consent=consent is not False)
    return found

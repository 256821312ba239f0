"""[Ray Data] Events grouped by profile and played back: replayed moments, and states as of now.

Kept apart from what proposes and ranks: tasks that shuffle events start in a second when they need not import models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from recray.catalog.titles import words as packed
from recray.data.examination import ORGANIC
from recray.data.replay import Draw, Moment, moments
from recray.data.states import state_of
from recray.errors import DataError
from recray.schema import Ints, Objective, ProfileKey, ProfileSettings, Words
from recray.stores.erased import PLACE, Erased
from recray.stores.event_parts import first_rows, in_order
from recray.stores.lake import Snapshot

_COLUMNS: Final = ["event_id", "user_id", "profile_id", "content_id", "action", "event_at", "value", "progress", "device"]
_PLACE: Final = ["recommendation_id", "row", "position"]
_KEY: Final = ["user_id", "profile_id"]


def _by_profile(snapshot: Snapshot, n_blocks: int, columns: Sequence[str] = _COLUMNS) -> Any:
    parts = [
        _rows(files, columns, read, snapshot.erased, n_blocks)
        for files, read in ((snapshot.imported, columns), (snapshot.sunk, [*columns, *PLACE]))
        if files
    ]
    if not parts:
        raise DataError("there are no events to read; import a set with events, or serve one and let the sink write them")
    events = parts[0].union(parts[1]) if len(parts) > 1 else parts[0]
    return events.groupby(_KEY, num_partitions=n_blocks)


def _rows(
    files: Sequence[str], columns: Sequence[str], read: Sequence[str], erased: Erased, n_blocks: int
) -> "ray.data.Dataset":
    """Columns of the events that count, from files of one kind of which `read` must be read."""
    rows = ray.data.read_parquet(list(files), columns=list(read), override_num_blocks=n_blocks)
    if erased.until:
        rows = rows.map_batches(erased.without, batch_format="pyarrow", batch_size=None)
    return rows.select_columns(list(columns))


def _words(events: pa.Table, number_of: Any, repeats: bool) -> tuple[Words, pa.Table]:
    """All events of one profile as packed events, ascending, each once, and the rows that they are packed from."""
    once = first_rows(in_order(events)) if repeats else events
    found, known = packed(once, _held(number_of))
    words, first = np.unique(found, return_index=True)
    return words, once.take(pa.array(np.flatnonzero(known)[first]))


_read: dict[str, Mapping[str, int]] = {}


def _held(numbers: Any) -> Mapping[str, int]:
    """What a reference stands for, read once per process and not once per profile: a large catalogue's takes .3 s to read.

    Kept by the reference's name: Ray never ends an idle process that holds a reference itself.
    """
    name = numbers.hex()
    if name not in _read:
        _read.clear()
        _read[name] = ray.get(numbers)
    return _read[name]


def _places(events: pa.Table) -> Ints:
    """Row and position [n, 2] of events in the slates they came from; a position without a row is of the first one."""
    row, position = (pc.fill_null(events[column], absent).to_numpy() for column, absent in (("row", 0), ("position", ORGANIC)))
    organic = (position < 0) | pc.is_null(events["recommendation_id"]).to_numpy()
    return np.where(organic[:, None], ORGANIC, np.stack((row, position), axis=1)).astype(np.int32)


def folded(snapshot: Snapshot, number_of: Mapping[str, int], n_blocks: int) -> "ray.data.Dataset":
    """One row per profile: user_id, profile_id, state.

    Raises:
        DataError: the snapshot has no events.
    """
    known = {"number_of": ray.put(dict(number_of)), "repeats": bool(snapshot.sunk)}
    return _by_profile(snapshot, n_blocks).map_groups(_fold_profile, fn_kwargs=known, batch_format="pyarrow")


def _fold_profile(events: pa.Table, number_of: Any, repeats: bool) -> pa.Table:
    """All events of one profile -> its encoded state."""
    state = state_of(_words(events, number_of, repeats)[0])
    return events.select(_KEY).slice(0, 1).append_column("state", pa.array([state], pa.binary()))


def _replay_profile(events: pa.Table, number_of: Any, repeats: bool, draws: Mapping[str, Draw]) -> pa.Table:
    """All events of one profile -> one row per replayed moment of every draw, tagged with the draw's name."""
    key = ProfileKey(events["user_id"][0].as_py(), events["profile_id"][0].as_py())
    words, rows = _words(events, number_of, repeats)
    places = _places(rows)
    found = [(name, moment) for name, draw in draws.items() for moment in moments(key, words, draw, places)]
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
            "places": pa.array([m.places.tobytes() for _, m in found], pa.binary()),
        }
    )


def replay(snapshot: Snapshot, number_of: Mapping[str, int], draws: Mapping[str, Draw], n_blocks: int) -> "ray.data.Dataset":
    """Moments of every profile in a snapshot's events, as a Ray Data set with one row per moment.

    Raises:
        DataError: the snapshot has no events.
    """
    known = {"number_of": ray.put(dict(number_of)), "repeats": bool(snapshot.sunk), "draws": dict(draws)}
    return _by_profile(snapshot, n_blocks, [*_COLUMNS, *_PLACE]).map_groups(
        _replay_profile, fn_kwargs=known, batch_format="pyarrow"
    )


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
            np.frombuffer(row["places"], np.int32).reshape(-1, 2),
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

"""[Ray Data] States of every profile, folded from the lake's events, into the online store."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import ray.data

from recray.data.grouped import settings_of
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import ProfileKey, ProfileSettings
from recray.stores.online import OnlineStore

_CHUNK = 1_000


def publish(states: "ray.data.Dataset", profiles: pa.Table, store: OnlineStore) -> int:
    """Write states and settings to the store, in chunks as they are folded; profiles without events get their settings.

    Returns how many profiles were written. Repeating it after an interruption writes the same values again.
    """
    return asyncio.run(_publish(states, settings_of(profiles), store))


async def _publish(states: "ray.data.Dataset", settings: dict[ProfileKey, ProfileSettings], store: OnlineStore) -> int:
    n_written = 0
    try:
        rows: Iterable[dict[str, Any]] = states.iter_rows()
        for chunk in _chunks(_records(rows, settings)):
            await store.load(chunk)
            n_written += len(chunk)
    finally:
        await store.close()
    return n_written


def _records(
    rows: Iterable[dict[str, Any]], settings: dict[ProfileKey, ProfileSettings]
) -> Iterator[tuple[ProfileKey, bytes, ProfileSettings]]:
    silent = dict(settings)
    for row in rows:
        key = ProfileKey(row["user_id"], row["profile_id"])
        yield key, row["state"], silent.pop(key, ProfileSettings())
    nothing = fold.encode(ProfileState())
    for key, own in silent.items():
        yield key, nothing, own


def _chunks(
    records: Iterator[tuple[ProfileKey, bytes, ProfileSettings]],
) -> Iterator[list[tuple[ProfileKey, bytes, ProfileSettings]]]:
    while chunk := list(islice(records, _CHUNK)):
        yield chunk

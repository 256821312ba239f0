"""Profiles' events of a table as packed events, and the state that they fold to: the offline side of the feature path.

In this process and without Ray; `grouped` folds the same way, a profile at a time.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from recray.catalog.titles import words as packed
from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import ProfileKey, Words
from recray.stores.lake import Lake

_KEY = ("user_id", "profile_id")
_COLUMNS = (*_KEY, "event_id", "content_id", "action", "event_at", "value", "progress", "device")


def state_of(words: Words) -> bytes:
    """The encoded state of a profile whose packed events [n] uint64 are all there are, in any order and with repeats."""
    return fold.encode(fold.fold(ProfileState(), np.unique(words)))


def words_of(events: pa.Table, number_of: dict[str, int]) -> dict[ProfileKey, Words]:
    """Packed events [n] uint64 of every profile in a table of events, in the table's order; unknown titles are left out.

    Raises:
        DataError: an action that is none.
    """
    words, kept = packed(events, number_of)
    owners = pl.DataFrame(pl.from_arrow(events.select(_KEY))).filter(pl.Series(kept)).with_columns(word=pl.Series(words))
    grouped = owners.group_by(_KEY, maintain_order=True).agg(pl.col("word"))
    lists = zip(*(grouped[column].to_list() for column in _KEY), grouped["word"], strict=True)
    return {ProfileKey(user_id, profile_id): own.to_numpy() for user_id, profile_id, own in lists}


def words_in(lake: Lake, name: str) -> dict[ProfileKey, Words]:
    """Packed events of every profile of a set, in the order (event_at, event_id), each event once.

    Raises:
        DataError: no such set, or a corrupt file.
    """
    number_of = {content_id: number for number, content_id in enumerate(lake.table(name, "titles")["content_id"].to_pylist())}
    return words_of(lake.events(name, columns=_COLUMNS), number_of)

"""Whose rows no reader of the lake may see: profiles that were erased, by marks that do not name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recray.schema import Bools, ProfileKey
from recray.stores.event_log import digest, erasure_mark
from recray.stores.log_group import order, parted

_KEY: Final = ("user_id", "profile_id")
PLACE: Final = ("log", "logged_at_ms", "logged_no")
"""Columns that say where a row was logged; rows without them were imported."""


@dataclass(frozen=True, slots=True)
class Erased:
    """`until` maps the hexadecimal mark of an erased profile to a log and the last position in it that was erased.

    Rows without a place in a log (imported ones) and rows of another log are older than the erasure.
    """

    until: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def of(self, key: ProfileKey) -> tuple[str, str] | None:
        """The log and position of a profile's last erasure, or None."""
        return self.until.get(erasure_mark(digest(key)).hex()) if self.until else None

    def without(self, rows: pa.Table, key: Sequence[str] = _KEY) -> pa.Table:
        """Rows but for the erased ones; `key` names the columns of user and profile.

        Columns `log`, `logged_at_ms` and `logged_no`, where there are any, say where a row was logged: what an erased profile
        did afterwards stays. Computes one digest per distinct profile, and nothing when nobody was erased.
        """
        if not self.until or not rows.num_rows:
            return rows
        profiles = pl.DataFrame(pl.from_arrow(rows.select(list(key)))).unique()
        gone: Bools = np.zeros(rows.num_rows, np.bool_)
        for user_id, profile_id in profiles.iter_rows():
            held = self.of(ProfileKey(user_id, profile_id))
            if held is not None:
                own = pc.and_(pc.equal(rows[key[0]], user_id), pc.equal(rows[key[1]], profile_id)).to_numpy()
                gone |= own & ~since_erasure(rows, *held)
        return rows.filter(pa.array(~gone)) if gone.any() else rows

    def entries(self, rows: pa.Table) -> pa.Table:
        """Refused log entries (`sunk.QUARANTINE`) but for those of erased profiles, which they name by digest."""
        kept: Bools = np.ones(rows.num_rows, np.bool_)
        for row, profile in enumerate(rows["profile"].to_pylist()):
            held = self.until.get(erasure_mark(profile).hex())
            kept[row] = held is None or since_erasure(rows.slice(row, 1), *held)[0]
        return rows.filter(pa.array(kept))


def after(rows: pa.Table, log: str, position: str) -> Bools:
    """Which rows [n_rows] bool lie behind a position of a log; rows that are in no log do not."""
    if "log" not in rows.column_names:
        return np.zeros(rows.num_rows, np.bool_)
    at_ms, number = order(position)
    ms, no = rows["logged_at_ms"].to_numpy(), rows["logged_no"].to_numpy()
    same = pc.equal(rows["log"], log).to_numpy()
    return same & ((ms > at_ms) | ((ms == at_ms) & (no > number)))


def since_erasure(rows: pa.Table, log: str, position: str) -> Bools:
    """Which rows [n_rows] bool of a profile were logged after it was erased.

    A profile goes to higher shards alone: what lies in one of the same store's is later, and all other logs are earlier.
    """
    if "log" not in rows.column_names:
        return np.zeros(rows.num_rows, np.bool_)
    store, shard = parted(log)
    later = [name for name in pc.unique(rows["log"]).to_pylist() if parted(name)[0] == store and parted(name)[1] > shard]
    return after(rows, log, position) | pc.is_in(rows["log"], value_set=pa.array(later, pa.string())).to_numpy()


def last_erasure(one: tuple[str, str] | None, other: tuple[str, str]) -> tuple[str, str]:
    """Of two erasures of a profile, given by log and position, the later one; the second if they are of different stores."""
    if one is None or parted(one[0])[0] != parted(other[0])[0]:
        return other
    return max(one, other, key=lambda told: (parted(told[0])[1], order(told[1])))

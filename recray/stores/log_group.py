"""What a consumer group of the event log promises: every entry goes to one member, and stays with it until it is finished.

The group says who works on what; what is finished is said by the place where the work ends up, and told to the group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, frozen=True)
class Entry:
    """One logged event: where it lies in its shard's log, as `event_log.encode_event` wrote it, and the profile's digest.

    `blob` is empty when the entry was erased after it had been given out.
    """

    position: str
    blob: bytes
    profile: bytes


@dataclass(slots=True, frozen=True)
class Held:
    """An entry that was given out and is not finished: whether this member has it, and how often it was given out."""

    position: str
    is_own: bool
    n_tries: int


@dataclass(slots=True, frozen=True)
class Lag:
    """What a group has not finished: how many entries, and for how long the oldest has waited (0.0 when there is none)."""

    n_entries: int
    oldest_s: float


class LogGroup(Protocol):
    """One member's view of a consumer group over all shards; mappings go by shard, positions are those of the log.

    Every method raises `StoreError` when the store does not answer; what it did by then stays done, and a repeat is safe.
    """

    async def begin(self, through: Mapping[int, str]) -> None:
        """Make the group where it is missing, and tell it that everything up to `through` is finished ("": nothing is).

        When no other member was active within the claim time, the group starts again right behind `through`: whatever dead
        members had, and whatever was finished without reaching its place, is given out once more.
        """
        ...

    async def take(self, limit: int, *, again: bool = False, fresh: bool = True) -> dict[int, list[Entry]]:
        """Up to `limit` entries of each shard: what members idle for the claim time left, then, if `fresh`, what is new.

        An entry may come twice in one answer. With `again` this member's unfinished entries come from the oldest on instead,
        for when an answer was lost.
        """
        ...

    def n_kept_back(self) -> int:
        """Shards that the last `take` passed over: they are given out once others are finished."""
        ...

    async def held(self, limit: int) -> dict[int, list[Held]]:
        """Unfinished entries of each shard, oldest first, of all members."""
        ...

    async def retry(self, positions: Mapping[int, Sequence[str]]) -> None:
        """Count one more try of entries that this member has."""
        ...

    async def finish(self, through: Mapping[int, str]) -> int:
        """Everything up to `through` is safe in its place: forget it, and trim the log as `OnlineStore.trim` does.

        Returns how many entries were trimmed.
        """
        ...


def order(position: str) -> tuple[int, int]:
    """A position as numbers that sort as the log does; "" comes before every entry.

    >>> order("1700000000000-3") > order("1700000000000-0") > order("17") > order("")
    True
    """
    first, _, second = position.partition("-")
    return int(first or 0), int(second or 0)


def log_name(log_id: str, shard: int) -> str:
    """How the lake names one shard's log of one store."""
    return f"{log_id}/{shard}"


def parted(log: str) -> tuple[str, int]:
    """The store and the shard of a log's name.

    >>> parted(log_name("5f2c", 12))
    ('5f2c', 12)
    """
    store, _, shard = log.rpartition("/")
    return store, int(shard)

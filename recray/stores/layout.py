"""How many shards a store has, had, and is growing to, and which of them a profile's data are in.

The store says so itself, under one key; settings only tell what an empty store begins with. A number of shards is always a
multiple of the one before it: a profile then stays in its shard or goes to a new one, and never to one that others left.
"""

from dataclasses import dataclass
from typing import Self

from recray.errors import StoreError
from recray.stores.event_log import shard_of_digest


@dataclass(frozen=True, slots=True)
class Layout:
    """`counts` are all numbers of shards that the store ever had, oldest first; while it grows, the last is its aim."""

    counts: tuple[int, ...]
    is_growing: bool = False

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """What `text` wrote.

        Raises:
            StoreError: it is something else.
        """
        try:
            counts = tuple(map(int, text.removesuffix(b"+").split(b",")))
        except ValueError as problem:
            raise StoreError(
                f"the store's layout is {text!r}; expected numbers of shards like '16' or '16,32': the store belongs to "
                "something else, or to a newer version"
            ) from problem
        return cls(counts, text.endswith(b"+"))

    def text(self) -> bytes:
        """The layout as the store keeps it: `16`, `16,32+` while it grows, then `16,32`."""
        return ",".join(map(str, self.counts)).encode() + b"+" * self.is_growing

    @property
    def n_shards(self) -> int:
        """How many shards there are; while the store grows, those to come are counted."""
        return self.counts[-1]

    @property
    def epoch(self) -> int:
        """A number that rises with every change; odd while the store grows."""
        return 2 * (len(self.counts) - 1) - self.is_growing

    def shard(self, profile: bytes) -> int:
        """Where a profile, given by its digest, belongs."""
        return shard_of_digest(profile, self.n_shards)

    def left(self, profile: bytes) -> int | None:
        """The shard that a profile leaves for another one in the growth that is under way."""
        before = shard_of_digest(profile, self.counts[-2]) if self.is_growing else None
        return None if before == self.shard(profile) else before

    def been_in(self, profile: bytes) -> list[int]:
        """Every shard whose logs may hold entries of a profile, the one where it belongs first."""
        return list(dict.fromkeys(shard_of_digest(profile, count) for count in reversed(self.counts)))

    def origin(self, shard: int) -> tuple[int, int] | None:
        """The shard that the first profiles of this one came from, and in which epoch; None for one of the first shards."""
        for number, (before, after) in enumerate(zip(self.counts, self.counts[1:], strict=False)):
            if before <= shard < after:
                return shard % before, 2 * number + 1
        return None

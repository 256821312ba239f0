"""Where a RESP server holds what: names of keys, by the shard and the profile they belong to, and how scripts are called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from recray.schema import ProfileKey
from recray.stores import event_log, scripts
from recray.stores.layout import Layout
from recray.stores.online import Arrival
from recray.stores.resp import Command

T = TypeVar("T")

LAYOUT: Final = b"recray:n_shards"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a profile's data lie: its shard, its printable address, and the digest that its log entries carry.

    `left` is the shard that it is leaving, while the store grows.
    """

    shard: int
    address: bytes
    digest: bytes
    left: int | None = None

    @classmethod
    def of(cls, key: ProfileKey, layout: Layout) -> "Place":
        """The place of a profile in a store of that layout."""
        return cls.at(event_log.address(key).encode(), event_log.digest(key), layout)

    @classmethod
    def at(cls, address: bytes, digest: bytes, layout: Layout) -> "Place":
        """The place of a profile that is given by its address and digest."""
        return cls(layout.shard(digest), address, digest, layout.left(digest))

    @property
    def tag(self) -> bytes:
        return tag_of(self.shard)

    @property
    def profile(self) -> bytes:
        return self.tag + b"p:" + self.address

    @property
    def served(self) -> bytes:
        return self.tag + b"r:" + self.address

    @property
    def kept(self) -> bytes:
        return self.tag + b"a:" + self.address

    def marks(self, arrival: Arrival) -> tuple[bytes, bytes]:
        """Keys of an event's two dedup marks."""
        return mark_keys(self.tag, arrival, self.digest)


def mark_keys(tag: bytes, arrival: Arrival, profile: bytes) -> tuple[bytes, bytes]:
    """Keys of an event's two dedup marks in a shard; its profile is given by its digest."""
    by_id, by_word = event_log.dedup_marks(arrival, profile)
    return tag + b"d:" + by_id, tag + b"w:" + by_word


def tag_of(shard: int) -> bytes:
    """The hash tag of a shard, which keeps its keys on one slot of a cluster."""
    return b"{s%d}" % shard


def epoch_key(tag: bytes) -> bytes:
    """Key of the epoch that a shard was brought to."""
    return tag + b"epoch"


def record_key(recommendation_id: str) -> bytes:
    """Key of a served slate, found without knowing the profile."""
    return b"rec:" + recommendation_id.encode()


def script_call(script: scripts.Script, keys: Sequence[bytes], *args: Any) -> Command:
    """A script as one command."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def placed_call(script: scripts.Script, tag: bytes, epoch: int, keys: Sequence[bytes], *args: Any) -> Command:
    """A script that refuses to run unless the shard is in the caller's epoch."""
    return script_call(script, [*keys, epoch_key(tag)], *args, epoch)


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive parts of at most `size` values."""
    return (values[start : start + size] for start in range(0, len(values), size))

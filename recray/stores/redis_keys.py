"""Where a RESP server holds what: names of keys, by the shard and the profile they belong to, and how scripts are called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from recray.schema import ProfileKey
from recray.stores import event_log, scripts
from recray.stores.online import Arrival
from recray.stores.resp import Command

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a profile's data lie: its hash tag, its printable address, and the digest that its log entries carry."""

    tag: bytes
    address: bytes
    digest: bytes

    @classmethod
    def of(cls, key: ProfileKey, n_shards: int) -> "Place":
        """The place of a profile in a store of so many shards."""
        digest = event_log.digest(key)
        return cls(tag_of(event_log.shard_of_digest(digest, n_shards)), event_log.address(key).encode(), digest)

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
        by_id, by_word = event_log.dedup_marks(arrival, self.digest)
        return self.tag + b"d:" + by_id, self.tag + b"w:" + by_word


def tag_of(shard: int) -> bytes:
    """The hash tag of a shard, which keeps its keys on one slot of a cluster."""
    return b"{s%d}" % shard


def record_key(recommendation_id: str) -> bytes:
    """Key of a served slate, found without knowing the profile."""
    return b"rec:" + recommendation_id.encode()


def script_call(script: scripts.Script, keys: Sequence[bytes], *args: Any) -> Command:
    """A script as one command."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive parts of at most `size` values."""
    return (values[start : start + size] for start in range(0, len(values), size))

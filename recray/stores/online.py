"""What the online store promises.

An event is appended in one atomic step: dedup, log, the profile's inbox, the profile's version. The inbox holds packed
events that are acknowledged but not yet folded into the stored state, so a read that folds it is always up to date
and a crash between append and fold loses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from recray.features import fold
from recray.features.fold import ProfileState
from recray.schema import Event, ProfileKey, ProfileSettings, Words
from recray.stores.log_group import Entry, Lag, LogGroup
from recray.stores.versions import Versions


class Verdict(StrEnum):
    """What became of one appended event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"


@dataclass(slots=True, frozen=True)
class Arrival:
    """One validated event on its way into the store: the fact, its packed form, and when it came."""

    event: Event
    word: int
    received_at_s: int

    @property
    def key(self) -> ProfileKey:
        return ProfileKey(self.event.user_id, self.event.profile_id)


@dataclass(slots=True, frozen=True)
class ProfileRecord:
    """What the store holds of one profile; all fields at their defaults when it holds nothing.

    `state` is what `fold.encode` wrote, `inbox` packed events not yet folded into it, `version` the number of changes
    that may alter recommendations (accepted events that fold, settings, loads; caches key on it), `generation` the number
    of times `state` was replaced.
    """

    state: bytes = b""
    inbox: bytes = b""
    settings: ProfileSettings = field(default_factory=ProfileSettings)
    version: int = 0
    generation: int = 0

    def folded(self) -> ProfileState:
        """The up-to-date state."""
        state = fold.decode(self.state)
        pending: Words = np.frombuffer(self.inbox, "<u8").astype(np.uint64)
        return fold.fold(state, pending) if pending.size else state


@dataclass(slots=True, frozen=True)
class Wanted:
    """A kept answer that is asked for: whose it is and its name (32 bytes), and the lease of the caller's own copy, if any.

    `new_lease` becomes the profile's lease when it has none; it must never have been used before.
    """

    key: ProfileKey
    name: bytes
    new_lease: bytes
    copy_lease: bytes = b""


@dataclass(slots=True, frozen=True)
class Found:
    """The profile's lease, and the kept answer (`keep`'s `blob`): None when there is none, or the caller's copy is good."""

    lease: bytes
    blob: bytes | None


@dataclass(slots=True, frozen=True)
class Keeping:
    """An answer to be kept (as `kept.encode_kept` wrote it): whose, its name, and the lease found before it was made."""

    key: ProfileKey
    name: bytes
    lease: bytes
    blob: bytes


class OnlineStore(Protocol):
    """Latest state per profile, the event log, and the slates that were served.

    Every method raises `StoreError` when the store does not answer within its timeout; nothing is half done then,
    except that a write whose answer was lost may have happened (repeating it is safe).
    """

    async def read(self, keys: Sequence[ProfileKey]) -> list[ProfileRecord]:
        """Records of profiles in the order asked, in one round trip; unknown profiles give an empty record."""
        ...

    async def append(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Append events, each atomically: dedup on event_id and on the packed event, log, inbox, version.

        Dedup is by profile and lasts the dedup TTL. Actions that never fold (impression, search) are logged and leave the
        profile as it is.
        """
        ...

    async def settle(self, key: ProfileKey, state: bytes, n_folded_bytes: int, generation: int) -> bool:
        """Replace the state if its generation still is `generation`, and cut the folded bytes off the inbox's front.

        False, and nothing changed, when another writer came first or the inbox is shorter than that (erased meanwhile).
        """
        ...

    async def put_settings(self, key: ProfileKey, settings: ProfileSettings) -> int:
        """Store a profile's settings; returns the new version."""
        ...

    async def load(
        self, profiles: Sequence[tuple[ProfileKey, bytes, ProfileSettings]], versions: Sequence[int] | None = None
    ) -> list[bool]:
        """Bulk write of states and settings; returns which were written. Settings that were put stay as they were put.

        Without `versions` every profile is written, and an inbox that is pending stays pending. With them a profile is
        written only while its version still is the given one, and its inbox is emptied: the state holds those events.
        """
        ...

    async def look_up(self, wanted: Sequence[Wanted], ttl_s: int) -> list[Found]:
        """Leases and kept answers in the order asked, in one round trip.

        A lease names one unchanged state of a profile. It ends with `ttl_s`, with the next change of the profile's version,
        and with its erasure; what was kept under it is gone then, and it never comes back [Nishtala2013].
        """
        ...

    async def keep(self, answers: Sequence[Keeping], most_bytes: int) -> list[bool]:
        """Keep answers, each atomically, in one round trip; whether each was kept, in order.

        One whose lease has ended is not, nor one whose name is taken, or that exceeds `most_bytes` by itself. What else is
        kept of the profile goes when all of it would exceed `most_bytes`.
        """
        ...

    async def log_slates(self, slates: Sequence[tuple[str, ProfileKey, bytes]]) -> None:
        """Record what was served: (recommendation_id, profile, encoded SlateServed), readable for the record TTL."""
        ...

    async def slate(self, recommendation_id: str) -> bytes | None:
        """The encoded SlateServed of an answer, or None when there is none or it expired."""
        ...

    async def n_shards(self) -> int:
        """How many shards the store has now, and so how many logs of each kind; the number grows, by whole multiples."""
        ...

    async def events(self, shard: int, after: str, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Up to `limit` logged events of a shard after a position ("" for the start), oldest first, with positions.

        An event's values are those of `event_log.facts`.
        """
        ...

    async def slates(self, shard: int, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Up to `limit` encoded SlateServed of a shard after a position, as `events`; the oldest go when the log is full."""
        ...

    async def trim(self, shard: int, through: str) -> int:
        """Forget a shard's logged events up to and including a position, once they are safe in the lake; returns how many.

        What a consumer group has not finished stays, and everything behind it.
        """
        ...

    async def entries(self, shard: int, after: str, limit: int) -> list[Entry]:
        """As `events`, but as written, so that an entry which cannot be read hides no other."""
        ...

    async def log_id(self) -> str:
        """The name of this store's event log, made when it is first asked for: positions of another log mean nothing here."""
        ...

    def group(self, name: str, member: str, claim_idle_s: float) -> LogGroup:
        """A member's view of a consumer group; a member that is idle for `claim_idle_s` loses its entries to the others."""
        ...

    async def disband(self, group: str) -> None:
        """Forget a consumer group that nobody works for any more, so that it holds no log up; nothing when there is none."""
        ...

    def versions(self, name: str) -> Versions:
        """Numbered versions of what a background process makes, for all to read."""
        ...

    async def lag(self, group: str) -> Lag:
        """What a consumer group has still to finish, over all shards; counts at most 100,000 new entries of each."""
        ...

    async def erasures(self) -> dict[bytes, tuple[int, str]]:
        """Profiles that were erased and whose erasure the lake does not know: mark -> (shard, last position that is erased).

        The mark is `event_log.erasure_mark`.
        """
        ...

    async def forget_erasures(self, known: Mapping[bytes, tuple[int, str]]) -> None:
        """The lake knows these erasures now; a profile that was erased again meanwhile stays."""
        ...

    async def note(self, name: str, facts: bytes) -> None:
        """Leave a notice for whoever asks, such as what a background process last did; it replaces the one before."""
        ...

    async def noted(self, name: str) -> bytes | None:
        """The notice of that name, or None."""
        ...

    async def export(self, key: ProfileKey) -> dict[str, Any]:
        """Everything held about a profile, as JSON values: settings, state's events, logged events, served slates,
        kept answers.
        """
        ...

    async def erase(self, key: ProfileKey) -> dict[str, int]:
        """Delete everything held about a profile; returns how many `profiles`, `events`, `slates`, `answers` (kept ones)
        and `marks` (dedup) went.

        Marks of events that were already trimmed are digests only, and go when their TTL ends. Reads every entry of the
        shard's two logs once, in small steps. Leaves an entry in `erasures`, for what the lake holds of the profile.
        """
        ...

    async def scrub(self) -> bool:
        """Start rewriting the store's own durable log, so that erased bytes leave the disk; False if one is under way."""
        ...

    async def ping(self) -> float:
        """Round-trip time in seconds."""
        ...

    async def close(self) -> None: ...

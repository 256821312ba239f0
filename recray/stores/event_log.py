"""How logged events and served slates are written down, where a profile lives, and how its inbox is folded away.

Every store uses these functions, so that a log written by one is read by any other.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote

import msgspec

from recray.errors import DataError
from recray.features import fold
from recray.schema import NOT_COUNTED, UNFOLDED, Action, Counted, Device, Event, ProfileKey, ProfileSettings, Words, word
from recray.stores.kept import decode_kept
from recray.stores.online import Arrival, OnlineStore, ProfileRecord

_SHORT: Final = {
    "event_id": "i",
    "user_id": "u",
    "profile_id": "p",
    "content_id": "c",
    "action": "a",
    "event_at_s": "t",
    "value": "v",
    "watch_s": "s",
    "progress": "g",
    "device": "d",
    "recommendation_id": "r",
    "row": "y",
    "position": "x",
    "word": "w",
    "received_at_s": "n",
}
_EVENT_FIELDS: Final = tuple(field.name for field in fields(Event))


class _Logged(msgspec.Struct, omit_defaults=True, rename=_SHORT):
    """One logged event on the wire; fields as in `Event` and `Arrival`, keys shortened."""

    event_id: str
    user_id: str
    profile_id: str
    content_id: str
    action: Action
    event_at_s: int
    word: int
    received_at_s: int
    value: float | None = None
    watch_s: float | None = None
    progress: float | None = None
    device: Device = Device.OTHER
    recommendation_id: str | None = None
    row: int | None = None
    position: int | None = None


class SlateServed(msgspec.Struct, omit_defaults=True):
    """The server's log of one answer: enough to explain it, to join feedback to it, and to judge other policies by it.

    `arms` maps an experiment to the arm met, `state` is the encoded profile state that the answer was made from, `request`
    holds the request's parameters as JSON values. `items` (title numbers), `positions`, `scores`, `propensities` and
    `sources` are parallel, one entry per placement; on a page of rows positions run on from row to row. `counted` says which
    live counts it was made with.
    """

    recommendation_id: str
    user_id: str
    profile_id: str
    served_at_s: int
    bundle_id: str
    page: str
    vectors_fingerprint: str
    settings: ProfileSettings
    arms: dict[str, str] = {}
    request: dict[str, Any] = {}
    state: bytes = b""
    items: list[int] = []
    positions: list[int] = []
    scores: list[float] = []
    propensities: list[float] = []
    sources: list[str] = []
    degraded: list[str] = []
    counted: Counted = NOT_COUNTED


_event_decoder: Final = msgspec.msgpack.Decoder(_Logged)
_slate_decoder: Final = msgspec.msgpack.Decoder(SlateServed)
_encoder: Final = msgspec.msgpack.Encoder()


def encode_event(arrival: Arrival) -> bytes:
    """The event, its packed word and its arrival time as MessagePack with one-letter keys; absent values are left out."""
    event = {name: getattr(arrival.event, name) for name in _EVENT_FIELDS}
    return _encoder.encode(_Logged(**event, word=arrival.word, received_at_s=arrival.received_at_s))


def decode_event(blob: bytes) -> Arrival:
    """The arrival that `encode_event` wrote.

    Raises:
        DataError: the bytes are not a logged event.
    """
    try:
        logged = _event_decoder.decode(blob)
    except msgspec.DecodeError as problem:
        raise _unreadable("event", blob, problem) from problem
    event = Event(**{name: getattr(logged, name) for name in _EVENT_FIELDS})
    return Arrival(event, logged.word, logged.received_at_s)


def readable(blob: bytes) -> Arrival | None:
    """As `decode_event`, but None for bytes that are no logged event."""
    try:
        return decode_event(blob)
    except DataError:
        return None


def encode_slate(slate: SlateServed) -> bytes:
    """The slate as MessagePack; empty lists and mappings are left out."""
    return _encoder.encode(slate)


def decode_slate(blob: bytes) -> SlateServed:
    """The slate that `encode_slate` wrote.

    Raises:
        DataError: the bytes are not a served slate.
    """
    try:
        return _slate_decoder.decode(blob)
    except msgspec.DecodeError as problem:
        raise _unreadable("slate", blob, problem) from problem


def _unreadable(what: str, blob: bytes, problem: Exception) -> DataError:
    return DataError(
        f"logged {what} of {len(blob)} bytes cannot be read ({problem}); expected MessagePack of this version: "
        "skip the entry, or read it with the version that wrote it"
    )


def facts(arrival: Arrival) -> dict[str, Any]:
    """A logged event as JSON values: columns as in `schema.EVENTS` but `event_at_s`, plus `received_at_s` and `word`.

    `action` and `device` are spelt as in tables and HTTP; absent values are None.
    """
    event = {name: getattr(arrival.event, name) for name in _EVENT_FIELDS}
    spelt = {"action": word(arrival.event.action), "device": word(arrival.event.device)}
    return {**event, **spelt, "received_at_s": arrival.received_at_s, "word": arrival.word}


def address(key: ProfileKey) -> str:
    """The profile as printable ASCII without braces or spaces; distinct profiles never share one."""
    return f"{_escaped(key.user_id)}/{_escaped(key.profile_id)}"


def _escaped(part: str) -> str:
    return part if part.isascii() and part.isalnum() else quote(part, safe="")


def digest(key: ProfileKey) -> bytes:
    """Sixteen bytes that stand for the profile, the same in every process."""
    return digest_of_address(address(key).encode())


def digest_of_address(address_: bytes) -> bytes:
    """As `digest`, for a profile whose address is at hand."""
    return blake2b(address_, digest_size=16).digest()


def erasure_mark(profile: bytes) -> bytes:
    """Sixteen bytes that recognize an erased profile (given as its digest) without being what its entries carry."""
    return blake2b(profile, digest_size=16, person=b"erased").digest()


def shard_of(key: ProfileKey, n_shards: int) -> int:
    """The shard 0..n_shards-1 that holds a profile and logs its events, the same in every process."""
    return shard_of_digest(digest(key), n_shards)


def shard_of_digest(profile: bytes, n_shards: int) -> int:
    """As `shard_of`, for a profile whose digest is at hand."""
    return int.from_bytes(profile[:8], "big") % n_shards


def dedup_marks(arrival: Arrival, profile: bytes) -> tuple[bytes, bytes]:
    """What must both be new for an event to be accepted: 17 bytes for its event_id, 16 for its packed form.

    Both begin with the first eight bytes of the profile's digest, which tell its shard: an event_id that another profile used
    does not hide this one's event.
    """
    by_id = blake2b(profile + arrival.event.event_id.encode(), digest_size=9).digest()
    return profile[:8] + by_id, profile[:8] + arrival.word.to_bytes(8, "little")


def inbox_word(arrival: Arrival) -> bytes:
    """The packed event as it lies in an inbox; nothing for an action that never enters a state (impression, search)."""
    return b"" if arrival.event.action in UNFOLDED else arrival.word.to_bytes(8, "little")


def derived_event_id(event: Event) -> str:
    """An event_id (32 hex digits) for an event that came without one: the same facts give the same id.

    A client that repeats a request word for word is thereby deduplicated; two facts that differ in any field are kept.
    """
    named = tuple(getattr(event, name) for name in _EVENT_FIELDS if name != "event_id")
    return blake2b(_encoder.encode(named), digest_size=16).hexdigest()


def exported(
    key: ProfileKey, record: ProfileRecord, events: Iterable[bytes], slates: Iterable[bytes], answers: Iterable[bytes]
) -> dict[str, Any]:
    """Everything a store holds about a profile as JSON values; `state` is up to date, inbox included."""
    state = record.folded()
    return {
        "user_id": key.user_id,
        "profile_id": key.profile_id,
        "settings": asdict(record.settings),
        "version": record.version,
        "state": {
            "recent": _told(state.recent),
            "counters": state.counters.tolist(),
            "watched": state.watched.tolist(),
            "hidden": state.hidden.tolist(),
            "first_at_s": state.first_at_s,
        },
        "events": [facts(arrival) for arrival in map(readable, events) if arrival is not None],
        "slates": [msgspec.to_builtins(decode_slate(blob)) for blob in slates],
        "kept_answers": [msgspec.json.decode(decode_kept(blob).body()) for blob in answers],
    }


def _told(words: Words) -> list[dict[str, Any]]:
    columns = (fold.times(words), fold.items(words), fold.actions(words), fold.devices(words), fold.progress(words))
    return [
        {"event_at_s": at_s, "title": title, "action": word(Action(act)), "device": word(Device(dev)), "progress": share}
        for at_s, title, act, dev, share in zip(*(column.tolist() for column in columns), strict=True)
    ]


async def settle_profile(store: OnlineStore, key: ProfileKey, attempts: int = 5) -> bool:
    """Fold a profile's inbox into its stored state; True when nothing that was pending at the call is pending now.

    Another writer that settles or publishes in between costs an attempt; False after `attempts` of them, which loses
    nothing: the inbox stays, and readers fold it.
    """
    for _ in range(attempts):
        (record,) = await store.read([key])
        if not record.inbox:
            return True
        state = fold.encode(record.folded())
        if await store.settle(key, state, len(record.inbox), record.generation):
            return True
    return False

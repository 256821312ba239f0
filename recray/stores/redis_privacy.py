"""All that a RESP store holds about one profile: told, and erased."""

from collections.abc import Sequence
from typing import Any, Final

from recray.schema import ProfileKey
from recray.stores import event_log, scripts
from recray.stores.known_layout import KnownLayout
from recray.stores.layout import Layout
from recray.stores.log_group import order
from recray.stores.online import ProfileRecord
from recray.stores.places import Asked, Places, reading
from recray.stores.redis_keys import Place, chunks, mark_keys, script_call, tag_of
from recray.stores.resp import RespClient

_LEASE_FIELDS: Final = 3
_PER_ROUND_TRIP: Final = 1_000
_LOOKED_AT: Final = 2_000
"""Log entries that one step of export or erase reads: 1 ms of the server's one thread."""


class RedisPrivacy:
    """Tells and erases profiles of one store; looks into the log of every shard that a profile has been in."""

    def __init__(self, server: RespClient, known: KnownLayout, places: Places) -> None:
        self._server = server
        self._known = known
        self._places = places

    async def export(self, key: ProfileKey, record: ProfileRecord) -> dict[str, Any]:
        """As `OnlineStore.export`; the profile was just read."""
        layout = await self._known.held()
        place = Place.of(key, layout)
        events = [blob for shard, _, blob, _ in await self._owned(place, layout, b"events")]
        slates = {name: blob for _, _, blob, name in await self._owned(place, layout, b"slates")}
        unexpired = [name for name in await self._unexpired(place) if name not in slates]
        records = await self._server.ask([("GET", b"rec:" + name) for name in unexpired])
        slates |= {name: blob for name, blob in zip(unexpired, records, strict=True) if blob is not None}
        (kept,) = await self._server.ask([("HGETALL", place.kept)])
        answers = [blob for name, blob in kept.items() if len(name) > 1]
        return event_log.exported(key, record, events, slates.values(), answers)

    async def erase(self, key: ProfileKey) -> dict[str, int]:
        """As `OnlineStore.erase`."""
        await self._places.each([key], reading)
        place = Place.of(key, await self._known.held())
        unexpired = await self._unexpired(place)
        (n_fields,) = await self._server.ask([("HLEN", place.kept)])
        n_profiles, last = await self._places.one(key, _erasing)
        layout = await self._known.held()
        place = Place.of(key, layout)
        # Answers go after the profile: a lease that a look-up gives meanwhile stands for a state that is gone, and goes too.
        await self._server.ask([("UNLINK", tag_of(shard) + b"a:" + place.address) for shard in layout.been_in(place.digest)])
        until = (place.shard, order(last.decode()))
        events = [
            entry
            for entry in await self._owned(place, layout, b"events")
            if entry[0] != until[0] or order(entry[1].decode()) <= until[1]
        ]
        slates = await self._owned(place, layout, b"slates")
        await self._take_out(b"events", events)
        await self._take_out(b"slates", slates)
        served = {*unexpired, *(name for *_, name in slates)}
        await self._server.ask([("UNLINK", b"rec:" + name) for name in served])
        n_marks = await self._drop_marks(place, layout, [blob for _, _, blob, _ in events])
        n_answers = max(n_fields - _LEASE_FIELDS, 0)
        return {"profiles": n_profiles, "events": len(events), "slates": len(served), "answers": n_answers, "marks": n_marks}

    async def _unexpired(self, place: Place) -> list[bytes]:
        (found,) = await self._server.ask([("ZRANGE", place.served, 0, -1)])
        return list(found)

    async def _owned(self, place: Place, layout: Layout, log: bytes) -> list[tuple[int, bytes, bytes, bytes]]:
        """The profile's entries in any shard's log: shard, position, entry, recommendation id."""
        owned: list[tuple[int, bytes, bytes, bytes]] = []
        for shard in reversed(layout.been_in(place.digest)):
            start = b"-"
            while start != b"(":
                call = script_call(scripts.OWNED, [tag_of(shard) + log], start, _LOOKED_AT, place.digest)
                ((last, found),) = await self._server.ask([call])
                owned += ((shard, *entry) for entry in found)
                start = b"(" + last
        return owned

    async def _take_out(self, log: bytes, entries: Sequence[tuple[int, bytes, bytes, bytes]]) -> None:
        of_shard: dict[int, list[bytes]] = {}
        for shard, position, *_ in entries:
            of_shard.setdefault(shard, []).append(position)
        await self._server.ask([
            ("XDEL", tag_of(shard) + log, *part)
            for shard, own in of_shard.items() for part in chunks(own, _PER_ROUND_TRIP)
        ])  # fmt: skip

    async def _drop_marks(self, place: Place, layout: Layout, events: Sequence[bytes]) -> int:
        arrivals = [arrival for arrival in map(event_log.readable, events) if arrival is not None]
        tags = [tag_of(shard) for shard in layout.been_in(place.digest)]
        marks = [[mark for one in arrivals for mark in mark_keys(tag, one, place.digest)] for tag in tags]
        calls = [("UNLINK", *part) for own in marks for part in chunks(own, _PER_ROUND_TRIP)]
        return sum(await self._server.ask(calls))


def _erasing(place: Place) -> Asked:
    keys = [place.profile, place.served, place.tag + b"events", place.tag + b"erased"]
    return Asked(scripts.ERASE, keys, (event_log.erasure_mark(place.digest),))

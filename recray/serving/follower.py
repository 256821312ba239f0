"""The follower: keeps the tally up from the logs of the online store, and publishes each version for every replica to read.

What was counted and how far the logs were read are published in one step. So a follower may be killed anywhere: the next one
goes on from there and counts nothing twice. Of two that run at once, the second to publish is refused and starts over from what
the first one made. A consumer group keeps events that no published version holds from being trimmed. Knows nothing of Ray.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from recray.catalog.titles import ABANDONED_SHARE, POOR_STARS
from recray.errors import DataError, ModelError, RecrayError, StoreError
from recray.features import tally
from recray.features.counting import Bounds, Counting, Seen, resumed
from recray.schema import WATCHING, Action, Event, ProfileKey
from recray.serving.new_titles import NewTitles
from recray.settings import Settings
from recray.stores import event_log
from recray.stores.event_log import SlateServed, decode_slate
from recray.stores.online import OnlineStore
from recray.stores.registry import Registry
from recray.stores.versions import Version

TALLY: Final = "tally"
"""Name of the versions, of the consumer group, and of the notice."""
_PROFILES_AT_ONCE: Final = 500
_AT_LEAST_S: Final = 60
"""A version is made this often even when nothing happens: slots become wider, and its age tells whether the follower lives."""
_log = logging.getLogger(__name__)


class Memory(msgspec.Struct):
    """What a follower leaves beside a version: how far it read each shard's events and slates, and whom it counted."""

    events: dict[int, str]
    slates: dict[int, str]
    accounts: bytes


class TallyFacts(msgspec.Struct, frozen=True):
    """What the follower tells of the newest version."""

    version: int
    at_s: int
    n_rows: int
    n_bytes: int
    n_memory_bytes: int


class Follower:
    """Keeps one application's tally. State: the counting and how far it has read, both lost when a step fails.

    Used from one event loop; `now_s` gives seconds since 1970.
    """

    def __init__(self, store: OnlineStore, new_titles: NewTitles, settings: Settings, now_s: Callable[[], float]) -> None:
        live = settings.live
        self._store = store
        self._new_titles = new_titles
        self._settings = live
        self._n_shards = self._share = 1
        self._bounds = Bounds(live.account_titles, live.keep_days, live.most_rows, live.most_pairs)
        self._now_s = now_s
        self._versions = store.versions(TALLY)
        self._group = store.group(TALLY, TALLY, live.every_s)
        self._counting: Counting | None = None
        self._number = 0
        self._read = Memory({}, {}, b"")

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until asked to stop. A store that fails is tried again, for ever."""
        while not stop.is_set():
            more = False
            try:
                more = await self.step()
            except RecrayError as problem:
                self._counting = None
                _log.warning("the tally's follower starts over: %s", problem)
            if not more:
                try:
                    await asyncio.wait_for(stop.wait(), self._settings.every_s)
                except TimeoutError:
                    continue

    async def step(self) -> bool:
        """Count what is new and publish it; whether there is more to do at once.

        Raises:
            StoreError: the store did not answer; the next step starts over from what is published.
        """
        counting = self._counting or await self._begin()
        self._counting = None
        self._n_shards = await self._store.n_shards()
        self._share = max(self._settings.max_entries // self._n_shards, 1)
        n_events, n_slates = await self._watched(counting), await self._shown(counting)
        old = self._now_s() - counting.tally.at_s >= _AT_LEAST_S
        if (n_events or n_slates or old) and not await self._publish(counting):
            return True
        self._counting = counting
        return max(n_events, n_slates) >= self._share

    async def _begin(self) -> Counting:
        found = await self._versions.resume()
        counting = Counting(tally.empty(int(self._now_s())), self._bounds)
        self._number, self._read = 0, Memory({}, {}, b"")
        if found is not None:
            self._number = found[0].number
            try:
                memory = msgspec.msgpack.decode(found[1], type=Memory)
                counting = resumed(tally.decode(found[0].value), memory.accounts, self._bounds)
                self._read = memory
            except (DataError, msgspec.MsgspecError) as problem:
                _log.warning("tally version %d cannot be read, counting begins anew: %s", self._number, problem)
        await self._group.begin(self._read.events)
        return counting

    async def _watched(self, counting: Counting) -> int:
        """Count the next watches; returns how many entries were read of the shard that had most."""
        events: list[Event] = []
        most = 0
        for shard in range(self._n_shards):
            found = await self._store.entries(shard, self._read.events.get(shard, ""), self._share)
            most = max(most, len(found))
            if found:
                self._read.events[shard] = found[-1].position
            arrivals = (event_log.readable(entry.blob) for entry in found)
            events += [one.event for one in arrivals if one is not None and _is_watch(one.event)]
        countries = await self._countries(events)
        counted = [(event, region) for event, region in zip(events, countries, strict=True) if region is not None]
        counting.count(
            Seen(
                tally.account_digests(event.user_id for event, _ in counted),
                tally.title_digests(event.content_id for event, _ in counted),
                [region for _, region in counted],
                np.array([event.event_at_s for event, _ in counted], np.int64),
            )
        )
        return most

    async def _countries(self, events: Sequence[Event]) -> list[str | None]:
        """The country of each event's profile, empty where it named none; None for a profile that does not consent."""
        owners = [ProfileKey(event.user_id, event.profile_id) for event in events]
        keys = list(dict.fromkeys(owners))
        settings = []
        for start in range(0, len(keys), _PROFILES_AT_ONCE):
            settings += [record.settings for record in await self._store.read(keys[start : start + _PROFILES_AT_ONCE])]
        country = {key: (own.country or "") if own.consent else None for key, own in zip(keys, settings, strict=True)}
        return [country[key] for key in owners]

    async def _shown(self, counting: Counting) -> int:
        """Count to whom new titles were shown; returns as `_watched`."""
        by_bundle: dict[str, list[SlateServed]] = {}
        most = 0
        for shard in range(self._n_shards):
            found = await self._store.slates(shard, self._read.slates.get(shard, ""), self._share)
            most = max(most, len(found))
            if found:
                self._read.slates[shard] = found[-1][0]
            for _, blob in found:
                slate = decode_slate(blob)
                if slate.settings.consent:
                    by_bundle.setdefault(slate.bundle_id, []).append(slate)
        for bundle_id, slates in by_bundle.items():
            try:
                titles = await asyncio.to_thread(self._new_titles.digests, bundle_id)
            except ModelError as problem:
                _log.warning("what bundle %s showed is not counted: %s", bundle_id, problem)
                continue
            shown = np.concatenate([np.array(slate.items, np.int64) for slate in slates])
            sizes = [len(slate.items) for slate in slates]
            new = titles[shown] != 0
            account = np.repeat(tally.account_digests(slate.user_id for slate in slates), sizes)[new]
            at_s = np.repeat(np.array([slate.served_at_s for slate in slates], np.int64), sizes)[new]
            counting.count(Seen(account, titles[shown][new], [], at_s), shown=True)
        return most

    async def _publish(self, counting: Counting) -> bool:
        value = tally.encode(counting.advance(int(self._now_s())))
        self._read.accounts = counting.memory()
        memory = msgspec.msgpack.encode(self._read)
        version = Version(self._number + 1, value)
        if not await self._versions.publish(version, memory, self._settings.kept_versions):
            _log.warning("another follower published version %d of the tally; going on from that", version.number)
            return False
        self._number = version.number
        await self._group.begin(self._read.events)
        rows = counting.tally
        facts = TallyFacts(version.number, rows.at_s, rows.keys.size, len(value), len(memory))
        await self._store.note(TALLY, msgspec.json.encode(facts))
        return True


async def follow(settings: Settings, store: OnlineStore, stop: asyncio.Event, now_s: Callable[[], float]) -> None:
    """Keep the tally up until asked to stop; where it is not wanted, let go of the events that were kept for it."""
    if settings.live.served:
        new_titles = NewTitles(Registry(settings.registry_dir), settings.sources.new_release_days)
        await Follower(store, new_titles, settings, now_s).run(stop)
        return
    try:
        await store.disband(TALLY)
    except StoreError as problem:
        _log.warning("events that were kept for a tally stay for now: %s", problem)


def _is_watch(event: Event) -> bool:
    """Whether an event counts: a title that was started, and neither given up nor rated poor as far as the event says."""
    abandoned = event.progress is not None and event.progress < ABANDONED_SHARE
    poor = event.value is not None and event.action == Action.RATE and event.value <= POOR_STARS
    return event.action in WATCHING and not abandoned and not poor

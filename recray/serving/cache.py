"""Answers that are reused: copies in this replica (L1) beside answers kept in the store (L2), both good while a lease stands.

    name -> look-up in the store: lease, answer   one round trip, also when the copy at hand is good
         -> copy under that lease, or the store's answer, or one computation for all who ask alike

The store ends a lease with any change of the profile, so no replica needs to be told of feedback, settings or erasure. When
it does not answer, nothing is reused: whether a copy is still good is then unknown, and a child's limit may have changed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from recray.errors import DataError, StoreError
from recray.pages.answer import Written
from recray.recommend import Parts
from recray.schema import ProfileKey
from recray.serving.asking import Asked
from recray.serving.batching import Batcher
from recray.serving.copies import Copies, Copy
from recray.serving.counters import Counters
from recray.serving.naming import Naming, context_of
from recray.serving.reply import Level, Reply, fresh, reused
from recray.settings import Settings
from recray.stores.kept import KeptAnswer, decode_kept, encode_kept, packed_answer
from recray.stores.online import Found, Keeping, OnlineStore, Wanted

_log = logging.getLogger(__name__)
_ASIDE_S: Final = 2
"""How long the cache steps aside when the store did not answer: waiting for it twice per request helps nobody."""
_ROUND_TRIPS: Final = (256, 2)
"""Most look-ups (and answers to keep) in one round trip, and round trips under way."""
Make = Callable[[Asked], Awaitable[Written]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds for which an answer is reused at most, and bytes that the store keeps of one profile."""

    ttl_s: int
    profile_bytes: int


@dataclass
class ResponseCache:
    """L1, L2 and single flight of one gateway replica. State: copies, computations under way, and when to try the store again.

    Used from one event loop. `new_id` names a lease: its values are never repeated on any replica.
    """

    naming: Naming
    store: OnlineStore
    copies: Copies
    bounds: Bounds
    counters: Counters
    now_s: Callable[[], int]
    new_id: Callable[[], str]
    _flights: dict[tuple[bytes, bytes], asyncio.Future[Reply]] = field(default_factory=dict)
    _behind: set[asyncio.Task[None]] = field(default_factory=set)
    _aside_until_s: int = 0

    def __post_init__(self) -> None:
        self._look_ups: Batcher[Wanted, Found] = Batcher(self._look_up, *_ROUND_TRIPS)
        self._keepings: Batcher[Keeping, bool] = Batcher(self._keep_all, *_ROUND_TRIPS)

    async def _look_up(self, wanted: Sequence[Wanted]) -> list[Found]:
        return await self.store.look_up(wanted, self.bounds.ttl_s)

    async def _keep_all(self, answers: Sequence[Keeping]) -> list[bool]:
        return await self.store.keep(answers, self.bounds.profile_bytes)

    async def reply(self, asked: Asked, make: Make) -> Reply:
        """The answer to a request: one that was made before, or one that `make` makes now.

        Raises:
            RecrayError: whatever `make` raises.
        """
        now_s = self.now_s()
        name = self.naming.name(asked, now_s)
        if name is None or now_s < self._aside_until_s:
            return await self._passed(asked, make)
        copy = self.copies.get(name)
        key = ProfileKey(asked.user_id, asked.profile_id)
        wanted = Wanted(key, name, self.new_id().encode(), copy.lease if copy else b"")
        try:
            found = await self._look_ups.ask(wanted)
        except StoreError as problem:
            _log.warning("nothing is reused for %d s: %s", _ASIDE_S, problem)
            self._aside_until_s = now_s + _ASIDE_S
            return await self._passed(asked, make)
        # Asked for again: a computation may have ended while the store answered.
        copy = self.copies.get(name)
        if copy is not None and copy.lease == found.lease:
            return self._reused(copy.answer, "l1", asked)
        if (answer := _decoded(found.blob)) is not None:
            self._copy(name, Copy(found.lease, answer))
            return self._reused(answer, "l2", asked)
        return await self._made_once(asked, make, name, found.lease)

    def _reused(self, answer: KeptAnswer, level: Level, asked: Asked) -> Reply:
        self.counters.reused.labels(level).inc()
        self.counters.requests.labels(asked.page, "ok").inc()
        return reused(answer, level, self.now_s())

    async def _passed(self, asked: Asked, make: Make) -> Reply:
        self.counters.reused.labels("passed").inc()
        return fresh(await make(asked), "miss")

    async def _made_once(self, asked: Asked, make: Make, name: bytes, lease: bytes) -> Reply:
        """One computation for everybody who asks alike while it goes on; whoever looked up the same lease met the same state.

        It outlives the caller who started it. When it fails, that caller gets the error, and the others try by themselves.
        """
        self.counters.reused.labels("miss").inc()
        flight = self._flights.get((name, lease))
        joined = flight is not None
        if flight is None:
            flight = self._started(asked, make, name, lease)
        try:
            reply = await asyncio.shield(flight)
        except Exception:
            if not joined:
                raise
            return fresh(await make(asked), "miss")
        if joined:
            self.counters.joined.inc()
            self.counters.requests.labels(asked.page, "ok" if reply.recommendation_id else "degraded").inc()
        return reply

    def _started(self, asked: Asked, make: Make, name: bytes, lease: bytes) -> asyncio.Future[Reply]:
        flight: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._flights[name, lease] = flight
        task = asyncio.ensure_future(self._fly(asked, make, (name, lease), flight))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        return flight

    async def _fly(self, asked: Asked, make: Make, at: tuple[bytes, bytes], flight: asyncio.Future[Reply]) -> None:
        try:
            reply = await self._rendered(asked, make, at[0])
        except Exception as problem:  # noqa: BLE001  # handed to those who wait for it
            flight.set_exception(problem)
            flight.exception()  # nobody may be left to hear of it
        else:
            flight.set_result(reply)
            if reply.recommendation_id:
                kept = packed_answer(reply.recommendation_id, self.now_s(), reply.body())
                await self._keep(ProfileKey(asked.user_id, asked.profile_id), at, kept)
        finally:
            flight.cancel()  # no effect once it has an outcome
            # Only now: until it is kept, whoever asks alike is given this one.
            del self._flights[at]

    async def _rendered(self, asked: Asked, make: Make, name: bytes) -> Reply:
        answer = await make(asked)
        # Another bundle may have taken over, or a licence ended, since the name was given.
        return fresh(answer, "miss", keep=answer.whole and self.naming.name(asked, self.now_s()) == name)

    async def _keep(self, key: ProfileKey, at: tuple[bytes, bytes], answer: KeptAnswer) -> None:
        blob = encode_kept(answer)
        try:
            if await self._keepings.ask(Keeping(key, *at, blob)):
                self.counters.kept_bytes.inc(len(blob))
                self._copy(at[0], Copy(at[1], answer))
        except StoreError:
            _log.warning("answer %s could not be kept", answer.recommendation_id)

    def _copy(self, name: bytes, copy: Copy) -> None:
        self.copies.put(name, copy, self.now_s())
        self.counters.copies_bytes.set(self.copies.n_bytes)

    async def drain(self) -> None:
        """Wait for what goes on behind replies."""
        while self._behind:
            await asyncio.gather(*self._behind, return_exceptions=True)


def _decoded(blob: bytes | None) -> KeptAnswer | None:
    if blob is None:
        return None
    try:
        return decode_kept(blob)
    except DataError:
        _log.exception("a kept answer cannot be read; it is made anew")
        return None


def open_cache(
    settings: Settings,
    parts: Parts,
    store: OnlineStore,
    counters: Counters,
    now_s: Callable[[], int],
    new_id: Callable[[], str],
) -> ResponseCache | None:
    """The cache that the settings ask for, or None."""
    serving = settings.serving
    if not serving.response_cache:
        return None
    bounds = Bounds(serving.cache_ttl_s, serving.cache_profile_bytes)
    copies = Copies(serving.cache_l1_bytes, serving.cache_ttl_s)
    return ResponseCache(Naming(parts, context_of(settings)), store, copies, bounds, counters, now_s, new_id)

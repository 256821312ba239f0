"""What the application does, without HTTP and without Ray: answer, take feedback in, explain, keep profiles.

The gateway's routes call it; tests build it with an in-memory store and call it directly.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from recray.bundle import Bundle
from recray.errors import RequestError, StoreError, UnknownRecommendationError
from recray.experiments.assign import Assignment
from recray.features import fold
from recray.features.profiles import columns
from recray.features.views import fingerprint
from recray.pages.answer import Answer, Written, explained, written
from recray.recommend import Parts, recommend
from recray.schema import ProfileKey, ProfileSettings
from recray.serving.admission import Admission, Pace
from recray.serving.asking import Asked, Question, batch, one, question
from recray.serving.batching import Batcher
from recray.serving.cache import ResponseCache
from recray.serving.counters import Counters
from recray.serving.feedback import Feedback, Intake, arrival
from recray.serving.follower import TALLY, TallyFacts
from recray.serving.live import AsServed
from recray.serving.record import served
from recray.serving.reply import Reply, fresh
from recray.serving.shadow import Known, Shadow
from recray.serving.shelf import BundleShelf
from recray.serving.sink import GROUP, SinkFacts
from recray.serving.swaps import Swaps
from recray.settings import StoreSettings
from recray.stores.event_log import decode_slate, encode_slate, settle_profile
from recray.stores.lake import Lake
from recray.stores.online import OnlineStore
from recray.stores.privacy import erase_profile, export_profile

_log = logging.getLogger(__name__)
_PATIENCE_S = 2.0
"""Less than `RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S`."""


@dataclass(kw_only=True)
class Service:
    """One gateway's application. State: the batcher, counters, and background work of the event loop."""

    parts: Parts
    shelf: BundleShelf
    store: OnlineStore
    limits: tuple[int, int]
    events: StoreSettings
    now_s: Callable[[], int]
    new_id: Callable[[], str]
    lake: Lake
    counters: Counters = field(default_factory=Counters)
    cache: ResponseCache | None = None
    shadow: Shadow | None = None

    def __post_init__(self) -> None:
        self._batcher: Batcher[Question, Answer] = Batcher(self._recommend, *self.limits, self._answered)
        if self.shadow is not None:
            self.shadow.n_inside = lambda: self._batcher.n_inside
        self.swaps = Swaps(self.shelf, self.now_s)
        self._pace = Pace(self.parts.timer)
        self._views = fingerprint()
        self._behind: set[asyncio.Task[Any]] = set()
        self._settling: set[ProfileKey] = set()
        self._intake = Intake(self.store, self.events, self._settle)
        self._promoting: dict[str, asyncio.Task[None]] = {}

    def champion(self) -> Bundle:
        """The bundle in charge.

        Raises:
            StageError: none is loaded.
        """
        return self.shelf.named("champion")

    async def _recommend(self, questions: Sequence[Question]) -> list[Answer]:
        self.counters.batch.observe(len(questions))
        began_s = self.parts.timer()
        answers = await recommend(batch(questions), self.parts)
        self._pace.batch(len(questions), began_s)
        return answers

    def admission(self, most_s: float) -> Admission:
        """Whether one more request could be answered within so many seconds."""
        return Admission(self._pace, lambda: self._batcher.n_inside, most_s, self._batcher.max_concurrent)

    def _answered(self, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        self.counters.count(answers)
        self._later(self._log_slates(questions, answers))
        if self.shadow is not None and (pairs := self.shadow.picked(questions, answers)):
            self._later(self.shadow.repeat(pairs))

    async def reply(self, asked: Asked) -> Reply:
        """The answer to one request ready for HTTP; out of the cache where there is one and it may be reused."""
        if self.cache is None:
            return fresh(await self.ask(asked))
        return await self.cache.reply(asked, self.ask)

    async def ask(self, asked: Asked) -> Written:
        """The answer to one request. What was served is logged after it, without holding it up."""
        answer = await self._batcher.ask(question(asked, self.new_id(), self.now_s(), self.champion().items))
        bundle = await self.shelf.held(answer.bundle_id)
        return written(answer, simulated=bundle.manifest.get("data", {}).get("simulated", []))

    async def _log_slates(self, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        slates = [
            (answer.recommendation_id, question.asked.key, encode_slate(served(answer, question, self._views)))
            for question, answer in zip(questions, answers, strict=True)
        ]
        try:
            await self.store.log_slates(slates)
        except StoreError:
            self.counters.unlogged.inc(len(slates))
            _log.warning("%d slates were served but could not be logged", len(slates))

    async def feedback(self, events: Sequence[Feedback]) -> list[str]:
        """Each event's verdict; accepted events are durable on return."""
        verdicts = await self._intake.take(events, self.champion().items, self.now_s())
        for verdict in verdicts:
            self.counters.feedback.labels(verdict.partition(":")[0]).inc()
        return verdicts

    def check(self, event: Feedback) -> None:
        """Raise what is wrong with a single event, so that its sender gets the error rather than a verdict.

        Raises:
            UnknownTitleError: the title is not in the catalogue.
            RequestError: the event cannot be taken.
        """
        arrival(event, self.champion().items, self.now_s(), self.events)

    def _settle(self, key: ProfileKey) -> None:
        if key not in self._settling:
            self._settling.add(key)
            self._later(self._fold(key))

    async def _fold(self, key: ProfileKey) -> None:
        # Taken out first: an event that arrives while this folds starts a fold of its own.
        self._settling.discard(key)
        try:
            await settle_profile(self.store, key)
        except StoreError:
            _log.warning("profile %s stays unfolded for now; its inbox is read with it", key)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def drain(self) -> None:
        """Wait for what goes on behind answers: logging and folding."""
        if self.cache is not None:
            await self.cache.drain()
        while self._behind:
            await asyncio.gather(*self._behind, return_exceptions=True)

    async def explain(self, recommendation_id: str) -> dict[str, Any]:
        """How an answer came about, by making it again from its logged state, arms and bundle, with a trace.

        Raises:
            UnknownRecommendationError: it was never made, or its record has expired.
        """
        blob = await self.store.slate(recommendation_id)
        if blob is None:
            raise UnknownRecommendationError(
                f"recommendation {recommendation_id!r} is not on record; records are kept for hours: ask anew, explain that"
            )
        served = decode_slate(blob)
        bundle = await asyncio.to_thread(self.shelf.take, served.bundle_id)
        key = ProfileKey(served.user_id, served.profile_id)
        said = served.request
        asked = Asked(**said["asked"] | {"content_types": tuple(said["asked"]["content_types"])})
        request = one(asked, recommendation_id, served.served_at_s, bundle.items)
        known = columns([fold.decode(served.state)], [served.settings])
        then = AsServed(self.parts.candidates, served.counted)
        parts = dataclasses.replace(self.parts, features=Known(known), candidates=then)
        arm = Assignment(served.arms, bundle.id, said["ranker"], said["slate"])
        answer = (await recommend(request, parts, assignments=[arm], trace=True))[0]
        again = [int(answer.candidates.items[0, place]) for place in answer.shown()]
        counts = "as served" if answer.candidates.counted == served.counted else "of now: those of then are no longer kept"
        return explained(answer) | {"replayed": again == served.items, "live_counts": counts, "profile": str(key)}

    async def profile(self, key: ProfileKey) -> ProfileSettings:
        """A profile's settings; defaults for an unknown one."""
        return (await self.store.read([key]))[0].settings

    async def picked(self, key: ProfileKey, names: Sequence[str]) -> tuple[str, ...]:
        """Genres as the catalogue spells them, each once, in the order given.

        Those that the profile has already are kept, also where a later catalogue lacks them.

        Raises:
            RequestError: the catalogue has no such genre.
        """
        if not names:
            return ()
        items = self.champion().items
        spelled = [items.genre_names[items.genre_of[n.casefold()]] if n.casefold() in items.genre_of else n for n in names]
        if unknown := [name for name in spelled if name.casefold() not in items.genre_of]:
            had = (await self.profile(key)).genres
            if strange := [name for name in unknown if name not in had]:
                raise RequestError(f"genres has {strange[0]!r}; expected some of {', '.join(items.genre_sizes)}")
        return tuple(dict.fromkeys(spelled))

    async def export(self, key: ProfileKey) -> dict[str, Any]:
        """Everything held about a profile, in the store and in the data set that is served."""
        return await export_profile(self.store, self.lake, self._data(), key)

    async def erase(self, key: ProfileKey) -> dict[str, int]:
        """Erase a profile from the store and from what readers of the data set see; returns how much that was."""
        return await erase_profile(self.store, self.lake, self._data(), key)

    def _data(self) -> str:
        bundle = self.shelf.champion()
        return bundle.manifest.get("data", {}).get("name", "") if bundle else ""

    async def readiness(self) -> dict[str, Any]:
        """What can be answered: the bundle in charge, the store's round trip, and bundles that were refused."""
        bundle = self.shelf.champion()
        try:
            store_ms: float | None = round(await self.store.ping() * 1_000, 3)
        except StoreError:
            store_ms = None
        facts = {"bundle": bundle.id if bundle else None, "store_ms": store_ms, "refused": self.shelf.refused}
        return facts | {"sink": await self.sink(), "tally": await self.tally()}

    async def tally(self) -> dict[str, Any] | None:
        """The newest version of the live counts, its age and size; None before the first one, or when the store is silent."""
        try:
            noted = await self.store.noted(TALLY)
        except StoreError:
            return None
        if noted is None:
            return None
        facts = msgspec.json.decode(noted, type=TallyFacts)
        said = {"version": facts.version, "age_s": max(self.now_s() - facts.at_s, 0), "rows": facts.n_rows}
        return {**said, "bytes": facts.n_bytes, "memory_bytes": facts.n_memory_bytes}

    async def sink(self) -> dict[str, Any] | None:
        """What sinks wrote and set aside, and what the log holds that is not in the lake; None when the store is silent."""
        try:
            noted, lag = await self.store.noted(GROUP), await self.store.lag(GROUP)
        except StoreError:
            return None
        facts = msgspec.json.decode(noted, type=SinkFacts) if noted else None
        said = {"data": facts.data, "written": facts.n_written, "quarantined": facts.n_quarantined} if facts else {}
        return {**said, "lag_entries": lag.n_entries, "lag_s": round(lag.oldest_s, 3)}

    async def metrics(self) -> bytes:
        """The exposition of the counters, with aliases and the sink's figures as of now."""
        for name, value in (await self.sink() or {}).items():
            if name != "data":
                self.counters.sink.labels(name).set(value)
        for name, value in (await self.tally() or {}).items():
            self.counters.tally.labels(name).set(value)
        self.counters.show(self.shelf.aliases(), len(self.shelf.refused))
        return self.counters.text()

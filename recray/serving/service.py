"""What the application does, without HTTP and without Ray: answer, take feedback in, explain, keep profiles.

The gateway's routes call it; tests build it with an in-memory store and call it directly.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recray.bundle import Bundle
from recray.errors import StoreError, UnknownRecommendationError
from recray.experiments.assign import Assignment
from recray.features import fold
from recray.features.profiles import columns
from recray.features.views import fingerprint
from recray.pages.answer import Answer, Written, explained, written
from recray.pages.explain import leading_sources
from recray.recommend import Parts, recommend
from recray.schema import ProfileKey, ProfileSettings
from recray.serving.admission import Admission, Pace
from recray.serving.asking import Asked, Question, batch, one, question
from recray.serving.batching import Batcher
from recray.serving.cache import ResponseCache
from recray.serving.counters import Counters
from recray.serving.feedback import Feedback, Intake, arrival
from recray.serving.reply import Reply, fresh
from recray.serving.shadow import Known, Shadow
from recray.serving.shelf import BundleShelf
from recray.serving.swaps import Swaps
from recray.stores.event_log import SlateServed, decode_slate, encode_slate, settle_profile
from recray.stores.online import OnlineStore

_log = logging.getLogger(__name__)


@dataclass
class Service:
    """One gateway's application. State: the batcher, counters, and background work of the event loop."""

    parts: Parts
    shelf: BundleShelf
    store: OnlineStore
    limits: tuple[int, int]
    max_future_s: int
    now_s: Callable[[], int]
    new_id: Callable[[], str]
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
        self._intake = Intake(self.store, self.max_future_s, self._settle)

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
        return Admission(self._pace, lambda: self._batcher.n_inside, most_s)

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
            (answer.recommendation_id, question.asked.key, encode_slate(_served(answer, question, self._views)))
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
        arrival(event, self.champion().items, self.now_s(), self.max_future_s)

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
        parts = dataclasses.replace(self.parts, features=Known(known))
        arm = Assignment(served.arms, bundle.id, said["ranker"], said["slate"])
        answer = (await recommend(request, parts, assignments=[arm], trace=True))[0]
        again = [int(answer.candidates.items[0, place]) for place in answer.shown()]
        return explained(answer) | {"replayed": again == served.items, "profile": str(key)}

    async def profile(self, key: ProfileKey) -> ProfileSettings:
        """A profile's settings; defaults for an unknown one."""
        return (await self.store.read([key]))[0].settings

    async def readiness(self) -> dict[str, Any]:
        """What can be answered: the bundle in charge, the store's round trip, and bundles that were refused."""
        bundle = self.shelf.champion()
        try:
            store_ms: float | None = round(await self.store.ping() * 1_000, 3)
        except StoreError:
            store_ms = None
        return {"bundle": bundle.id if bundle else None, "store_ms": store_ms, "refused": self.shelf.refused}

    def metrics(self) -> bytes:
        """The series of this replica, in Prometheus' text format."""
        self.counters.show(self.shelf.aliases(), len(self.shelf.refused))
        return self.counters.text()


def _served(answer: Answer, question: Question, views: str) -> SlateServed:
    """The log of one answer, with all that is needed to make it again."""
    shown = answer.shown()
    numbers = answer.candidates.items[answer.row, shown]
    sampled = dict(zip(answer.places.tolist(), answer.propensity.tolist(), strict=True))
    asked = question.asked
    return SlateServed(
        recommendation_id=answer.recommendation_id,
        user_id=asked.user_id,
        profile_id=asked.profile_id,
        served_at_s=question.now_s,
        bundle_id=answer.bundle_id,
        page=asked.page,
        vectors_fingerprint=views,
        settings=answer.profiles.settings[answer.row],
        arms=dict(answer.arms),
        request={"asked": asked.facts() | {"region": answer.region}, "ranker": answer.algorithm, "slate": dict(answer.slate)},
        state=answer.profiles.encode(answer.row),
        items=numbers.tolist(),
        positions=list(range(shown.size)),
        scores=answer.scores[shown].tolist(),
        propensities=[sampled.get(place, 1.0) for place in shown.tolist()],
        sources=leading_sources(answer.candidates, answer.row, shown),
        degraded=answer.degraded,
    )

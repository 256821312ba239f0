"""Where the time of one request goes: CPU of each part of the request path, in one thread, without HTTP and without Ray."""

import asyncio
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import torch
from threadpoolctl import threadpool_limits

from recray.bench.prepared import Prepared
from recray.bundle import Bundle, from_bytes
from recray.candidates.generate import CandidateStage
from recray.experiments.assign import Experiments
from recray.features.profiles import Profiles
from recray.features.vectorize import RankerInput
from recray.features.views import fingerprint
from recray.pages.answer import written
from recray.recommend import Parts, guards_of, recommend
from recray.schema import Candidates, Counted, Floats, ProfileKey, Requests
from recray.serving.asking import Asked, Question, batch
from recray.serving.record import served
from recray.serving.stages import profiles_of_records
from recray.stores.connect import open_store
from recray.stores.event_log import encode_slate
from recray.stores.online import ProfileRecord
from recray.stores.registry import Registry

T = TypeVar("T")
_WARM_UP: Final = 2


@dataclass
class Clock:
    """Thread CPU by name. State: the sums in seconds."""

    spent_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def time(self, name: str, work: Callable[..., T], *given: Any, **named: Any) -> T:
        """What the work gives, its time added to the name's."""
        began_s = time.thread_time()
        try:
            return work(*given, **named)
        finally:
            self.spent_s[name] += time.thread_time() - began_s


@dataclass(frozen=True, slots=True)
class _Timed:
    """A source, a ranker or a first pass whose calls are timed under one name."""

    what: Any
    name: str
    clock: Clock

    def retrieve(self, *given: Any) -> Any:
        return self.clock.time(self.name, self.what.retrieve, *given)

    def predict(self, *given: Any) -> Any:
        return self.clock.time(self.name, self.what.predict, *given)

    def places(self, *given: Any) -> Any:
        return self.clock.time(self.name, self.what.places, *given)


@dataclass(frozen=True, slots=True)
class _Inline:
    """Every part of a request in the thread that asks, over one bundle and records read beforehand."""

    bundle: Bundle
    prepared: Prepared
    records: dict[ProfileKey, ProfileRecord]

    def named(self, name: str) -> Bundle:
        return self.bundle

    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        return profiles_of_records([self.records[key] for key in keys])

    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, *, trace: bool, counted: Counted | None = None
    ) -> Candidates:
        bundle, settings = self.bundle, self.prepared.settings
        return CandidateStage(bundle.items, bundle.text, bundle.sources, settings.sources).generate(requests, profiles)

    async def predict(self, bundle_id: str, ranker: str, given: RankerInput) -> Floats:
        return self.bundle.rankers[ranker].predict(given)


def measure(prepared: Prepared, endpoint: str, batch_size: int, n_batches: int) -> dict[str, float]:
    """CPU milliseconds per request of each part, in the order of the request path, and their `total`."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        return asyncio.run(_measured(prepared, endpoint, batch_size, n_batches))


async def _measured(prepared: Prepared, endpoint: str, batch_size: int, n_batches: int) -> dict[str, float]:
    clock = Clock()
    registry = Registry(prepared.settings.registry_dir)
    bundle = _timed(from_bytes(prepared.bundle_id, *registry.read(prepared.bundle_id)), clock)
    keys = [prepared.keys[at % len(prepared.keys)] for at in range(batch_size * (n_batches + _WARM_UP))]
    store = open_store(prepared.settings.store, prepared.settings.store.url)
    try:
        inline = _Inline(bundle, prepared, dict(zip(keys, await store.read(keys), strict=True)))
    finally:
        await store.close()
    parts = Parts(
        experiments=Experiments.load(prepared.settings.experiments_file),
        features=inline,
        candidates=inline,
        ranking=inline,
        shelf=inline,
        slate=prepared.settings.slate,
        timer=time.thread_time,
        guards=guards_of(prepared.settings.serving, time.perf_counter),
    )
    views = fingerprint()
    for number in range(n_batches + _WARM_UP):
        if number == _WARM_UP:
            clock.spent_s.clear()
        asked = [prepared.asked(key, endpoint) for key in keys[number * batch_size : (number + 1) * batch_size]]
        await _batch(asked, parts, clock, (views, bundle.items.as_of_s, number))
    per_request_ms = {name: 1_000 * spent / (n_batches * batch_size) for name, spent in clock.spent_s.items()}
    return _in_order(per_request_ms)


async def _batch(asked: Sequence[Asked], parts: Parts, clock: Clock, about: tuple[str, int, int]) -> None:
    views, now_s, number = about
    questions = [Question(one, f"parts-{number}-{place}", now_s, -1) for place, one in enumerate(asked)]
    requests = clock.time("request", batch, questions)
    answers = await recommend(requests, parts)
    for stage in ("assign", "features", "candidates", "rank", "slate", "page"):
        clock.spent_s[stage] += answers[0].took_ms[stage] / 1_000
    for answer, question in zip(answers, questions, strict=True):
        clock.time("json", written, answer)
        clock.time("slate log", lambda a=answer, q=question: encode_slate(served(a, q, views)))


def _timed(bundle: Bundle, clock: Clock) -> Bundle:
    """The bundle with its sources, rankers and first passes timed."""
    parts: dict[str, Any] = {
        "sources": {name: _Timed(source, f"candidates: {name}", clock) for name, source in bundle.sources.items()},
        "rankers": {name: _Timed(ranker, f"rank: {name}", clock) for name, ranker in bundle.rankers.items()},
        "preranks": {name: _Timed(first, "rank: first pass", clock) for name, first in bundle.preranks.items()},
    }
    return dataclasses.replace(bundle, **parts)


def _in_order(found: dict[str, float]) -> dict[str, float]:
    """Stages as they follow one another; what a stage's named parts leave of it is its `rest`."""
    ordered: dict[str, float] = {}
    for stage in ("request", "assign", "features", "candidates", "rank", "slate", "page", "json", "slate log"):
        named = {name: ms for name, ms in found.items() if name.startswith(f"{stage}: ")}
        ordered |= named
        ordered[f"{stage}: rest" if named else stage] = found[stage] - sum(named.values())
    return ordered | {"total": sum(ordered.values())}

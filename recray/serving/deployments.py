"""Ray Serve deployments: thin shells around the parts, each beside the adapter through which the gateway calls it.

A shell opens its store or bundles from the settings it is given and does nothing else; no Ray call is made elsewhere in
serving but in `compose`.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle
from threadpoolctl import threadpool_limits

from recray import settings as settings_module
from recray.bundle import RANKERS
from recray.errors import ModelError, StageError
from recray.experiments.assign import Experiments
from recray.features.fold import ProfileState
from recray.features.profiles import Profiles
from recray.features.vectorize import RankerInput
from recray.recommend import CandidateLookup, FeatureLookup, Parts, Ranking, guards_of
from recray.schema import Candidates, Counted, Floats, ProfileKey, Requests
from recray.serving import front
from recray.serving.auth import operator_only
from recray.serving.cache import open_cache
from recray.serving.counters import Counters
from recray.serving.follower import follow
from recray.serving.gateway import build_app
from recray.serving.service import Service
from recray.serving.shadow import Shadow
from recray.serving.shelf import BundleShelf
from recray.serving.sink_of_champion import sink_for_champion
from recray.serving.stages import LocalRanking, StoredProfiles, live_candidates
from recray.serving.warm import warm, warm_states
from recray.settings import Settings
from recray.stores.connect import open_store
from recray.stores.lake import Lake
from recray.stores.registry import Registry

_T = TypeVar("_T")
_HOLD_S = 300.0
"""Longest wait for other deployments to load a bundle."""
_THREADS = 1
"""Per replica: replicas are the unit of parallelism, and threads of several would fight over the same cores."""
_PLAIN = {"request_serialization": "pickle", "response_serialization": "pickle"}
"""What goes over a hop are plain classes and arrays; cloudpickle, the default, looks at each class in Python first."""


def _now_s() -> int:
    return time.time_ns() // 1_000_000_000


def _new_id() -> str:
    return uuid.uuid4().hex


def _settings(given: dict[str, Any]) -> Settings:
    os.environ["OMP_NUM_THREADS"] = str(_THREADS)  # of what rankers import later: XGBoost, torch
    threadpool_limits(_THREADS)
    return settings_module.load(None, os.environ, **given)


def _wall_s() -> float:
    return time.time_ns() / 1_000_000_000


def _shelf(settings: Settings, *, with_rankers: bool) -> BundleShelf:
    return BundleShelf(Registry(settings.registry_dir), with_rankers, lambda bundle: warm(bundle, settings))


async def _answer(called: Awaitable[_T], stage: str) -> _T:
    """What a deployment answers; its death or refusal is the stage's failure, which degrades and does not fail the request."""
    try:
        return await called
    except (RayError, RayServeException) as problem:
        if isinstance(problem, StageError):
            raise
        raise StageError(f"deployment of stage {stage} did not answer: {problem!r}") from problem


class _Holding:
    """What both kinds of deployments that answer by bundle share: they hold those that the aliases name, and any asked for.

    A new replica loads the aliases' bundles before it takes requests.
    """

    def __init__(self, settings: Settings, *, with_rankers: bool) -> None:
        self._shelf = _shelf(settings, with_rankers=with_rankers)
        self._shelf.refresh()
        self._following = asyncio.ensure_future(self._shelf.follow(settings.serving.alias_poll_s))

    async def hold(self, bundle_id: str) -> str | None:
        """Why a bundle is refused; None once it is held here."""
        try:
            await asyncio.to_thread(self._shelf.take, bundle_id)
        except ModelError as problem:
            return str(problem)
        return None


class FeatureLookupDeployment:
    """Wraps `StoredProfiles`. State: the store's connections."""

    def __init__(self, given: dict[str, Any]) -> None:
        settings = _settings(given)
        self._part = StoredProfiles(open_store(settings.store, settings.store.url))
        warm_states(ProfileState())

    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        return await self._part.profiles(keys)


@dataclass(frozen=True, slots=True)
class RemoteProfiles:
    """`FeatureLookup` through a handle."""

    handle: DeploymentHandle

    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        return await _answer(self.handle.profiles.remote(keys), "features")


class CandidateGeneratorDeployment(_Holding):
    """Wraps `LocalCandidates`. State: the shelf, without rankers, and the store's connections, for the live counts."""

    def __init__(self, given: dict[str, Any]) -> None:
        settings = _settings(given)
        super().__init__(settings, with_rankers=False)
        store = open_store(settings.store, settings.store.url)
        self._part = live_candidates(self._shelf, store, settings, _wall_s)

    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, trace: bool, counted: Counted | None
    ) -> Candidates:
        return await self._part.candidates(bundle_id, requests, profiles, trace=trace, counted=counted)


@dataclass(frozen=True, slots=True)
class RemoteCandidates:
    """`CandidateLookup` through a handle."""

    handle: DeploymentHandle

    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, *, trace: bool, counted: Counted | None = None
    ) -> Candidates:
        return await _answer(self.handle.candidates.remote(bundle_id, requests, profiles, trace, counted), "candidates")


class RankerDeployment(_Holding):
    """Wraps `LocalRanking` for one ranker. State: the shelf."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(_settings(given), with_rankers=True)
        self._part = LocalRanking(self._shelf)

    async def predict(self, bundle_id: str, ranker: str, batch: RankerInput) -> Floats:
        return await self._part.predict(bundle_id, ranker, batch)


@dataclass(frozen=True, slots=True)
class RemoteRanking:
    """`Ranking` through one handle per ranker."""

    handles: dict[str, DeploymentHandle]

    async def predict(self, bundle_id: str, ranker: str, batch: RankerInput) -> Floats:
        return await _answer(self.handles[ranker].predict.remote(bundle_id, ranker, batch), "rank")


class SinkDeployment:
    """Wraps the champion's `Sink` and the `Follower`; nobody calls it. State: their tasks, which start over by themselves."""

    def __init__(self, given: dict[str, Any]) -> None:
        settings = _settings(given)
        self._stop = asyncio.Event()
        store = open_store(settings.store, settings.store.url)
        about = settings, store, self._stop, _wall_s
        self._running = asyncio.gather(sink_for_champion(*about), follow(*about))

    async def check_health(self) -> None:
        """Ray's health check: the task runs; one that ended by a fault of ours is worth a new replica."""
        if self._running.done():
            self._running.result()

    async def __del__(self) -> None:
        """Ray's way to say that the replica ends: what is in the log goes to the lake first."""
        self._stop.set()
        await self._running


@dataclass(frozen=True, slots=True)
class RemoteShelves:
    """Bundles that the deployments behind a gateway hold. Called from threads other than the one that runs `loop`."""

    handles: Sequence[DeploymentHandle]
    loop: asyncio.AbstractEventLoop

    def hold(self, bundle_id: str) -> None:
        """Return once every replica holds a bundle.

        A deployment without replicas is passed over: each loads what the aliases name before it takes requests.

        Raises:
            ModelError: one refuses it.
            StageError: one did not answer.
        """
        asyncio.run_coroutine_threadsafe(self._held(bundle_id), self.loop).result()

    async def _held(self, bundle_id: str) -> None:
        for said in await asyncio.gather(*(self._said(handle, bundle_id) for handle in self.handles)):
            for why in said:
                if isinstance(why, str):
                    raise ModelError(why)
                if why is not None:
                    raise StageError(f"whether bundle {bundle_id} is held everywhere is not known: {why!r}; ask again") from why

    async def _said(self, handle: DeploymentHandle, bundle_id: str) -> Sequence[str | Exception | None]:
        try:
            asked = handle.broadcast("hold", bundle_id)
            return await asked.results_async(timeout_s=_HOLD_S, return_exceptions=True)
        except DeploymentUnavailableError:
            return []
        except (RayError, RayServeException, TimeoutError) as problem:
            return [problem]


@serve.ingress()
class GatewayDeployment:
    """Wraps `Service` behind its FastAPI application. State: the service, its shelf and its store's connections.

    Parts that are given as handles are reached through them; the others are objects of this replica.
    """

    def __init__(self, given: dict[str, Any], handles: dict[str, DeploymentHandle] | None = None) -> None:
        self._settings = _settings(given)
        self._remote = {name: handle.options(**_PLAIN) for name, handle in (handles or {}).items()}
        self._rankers = {name: self._remote[name] for name in RANKERS if name in self._remote}
        self._shelf = _shelf(self._settings, with_rankers=not self._rankers)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        settings, shelf, remote = self._settings, self._shelf, self._remote
        counters = Counters()
        shelf.refusing = counters.refusals.inc
        if "candidates" in remote:
            behind = [remote["candidates"], *self._rankers.values()]
            shelf.everywhere = RemoteShelves(behind, asyncio.get_running_loop()).hold
        # In a thread: the others' answers arrive on this event loop.
        await asyncio.to_thread(shelf.refresh)
        store = open_store(settings.store, settings.store.url)
        features: FeatureLookup = RemoteProfiles(remote["features"]) if "features" in remote else StoredProfiles(store)
        candidates: CandidateLookup = (
            RemoteCandidates(remote["candidates"])
            if "candidates" in remote
            else live_candidates(shelf, store, settings, _wall_s)
        )
        ranking: Ranking = RemoteRanking(self._rankers) if self._rankers else LocalRanking(shelf)
        serving = settings.serving
        parts = Parts(
            experiments=Experiments.load(settings.experiments_file),
            features=features,
            candidates=candidates,
            ranking=ranking,
            shelf=shelf,
            slate=settings.slate,
            timer=time.perf_counter,
            guards=guards_of(serving, time.perf_counter),
            default_region=serving.default_region,
        )
        shadow = Shadow(parts, guards_of(serving, time.perf_counter), shelf, serving.shadow_share, counters)
        self._service = Service(
            parts=parts,
            shelf=shelf,
            store=store,
            limits=(serving.max_batch, serving.n_batches),
            events=settings.store,
            now_s=_now_s,
            new_id=_new_id,
            lake=Lake(settings.lake_dir),
            counters=counters,
            cache=open_cache(settings, parts, store, counters, _now_s, _new_id),
            shadow=shadow if serving.shadow_share else None,
        )
        self._following = asyncio.ensure_future(shelf.follow(serving.alias_poll_s))
        app = build_app(self._service, operator_only(serving.admin_token), settings)
        front.door = app.door
        return app

    async def check_health(self) -> None:
        """Ray's health check: the event loop turns. A missing store degrades answers; it is no reason to be restarted."""

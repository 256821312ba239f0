"""recray's own application in plain processes: every stage as it is, one request at a time, no Ray and no batching."""

import os
import time
import uuid
from typing import Final

from fastapi import FastAPI

from recray import settings as settings_module
from recray.experiments.assign import Experiments
from recray.recommend import Parts, guards_of
from recray.serving.auth import operator_only
from recray.serving.cache import open_cache
from recray.serving.counters import Counters
from recray.serving.gateway import build_app
from recray.serving.service import Service
from recray.serving.shelf import BundleShelf
from recray.serving.stages import LocalCandidates, LocalRanking, StoredProfiles
from recray.serving.warm import warm
from recray.stores.connect import open_store
from recray.stores.lake import Lake
from recray.stores.registry import Registry

_AT_ONCE: Final = 2
"""While one request waits for the store, another is computed."""


def _now_s() -> int:
    return time.time_ns() // 1_000_000_000


def _new_id() -> str:
    return uuid.uuid4().hex


def app() -> FastAPI:
    """The ASGI application of the environment's settings."""
    settings = settings_module.load(None, os.environ)
    shelf = BundleShelf(Registry(settings.registry_dir), warm=lambda bundle: warm(bundle, settings))
    shelf.refresh()
    store = open_store(settings.store, settings.store.url)
    parts = Parts(
        experiments=Experiments.load(settings.experiments_file),
        features=StoredProfiles(store),
        candidates=LocalCandidates(shelf, settings.sources),
        ranking=LocalRanking(shelf),
        shelf=shelf,
        slate=settings.slate,
        timer=time.perf_counter,
        guards=guards_of(settings.serving, time.perf_counter),
        default_region=settings.serving.default_region,
    )
    counters = Counters()
    service = Service(
        parts=parts,
        shelf=shelf,
        store=store,
        limits=(1, _AT_ONCE),
        events=settings.store,
        now_s=_now_s,
        new_id=_new_id,
        lake=Lake(settings.lake_dir),
        counters=counters,
        cache=open_cache(settings, parts, store, counters, _now_s, _new_id),
    )
    return build_app(service, operator_only(settings.serving.admin_token), settings)

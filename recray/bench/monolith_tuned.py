"""recray's own application in plain processes: every stage as it is, one request at a time, no Ray and no batching."""

import os
import time
import uuid

from fastapi import FastAPI

from recray import settings as settings_module
from recray.experiments.assign import Experiments
from recray.recommend import Parts
from recray.serving.auth import operator_only
from recray.serving.gateway import build_app
from recray.serving.service import Service
from recray.serving.shelf import BundleShelf
from recray.serving.stages import LocalCandidates, LocalRanking, StoredProfiles
from recray.stores.connect import open_store
from recray.stores.lake import Lake
from recray.stores.registry import Registry


def app() -> FastAPI:
    """The ASGI application of the environment's settings."""
    settings = settings_module.load(None, os.environ)
    shelf = BundleShelf(Registry(settings.registry_dir))
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
        deadline_s=settings.serving.stage_deadline_ms / 1_000,
        default_region=settings.serving.default_region,
    )
    limits = (1, settings.serving.max_concurrent_batches)
    service = Service(parts, shelf, store, limits, settings.store,
                      now_s=lambda: time.time_ns() // 1_000_000_000, new_id=lambda: uuid.uuid4().hex,
                      lake=Lake(settings.lake_dir))  # fmt: skip
    return build_app(service, operator_only(settings.serving.admin_token), settings.slate)

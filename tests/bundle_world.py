"""A small real bundle made without Ray: the synthetic world imported, sources and rankers fitted, written to a registry."""

import dataclasses
import fcntl
import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recray.bundle import Bundle, facts, from_bytes, to_bytes
from recray.candidates.generate import CandidateStage
from recray.candidates.registered import fit_all
from recray.catalog.titles import words as packed
from recray.data.examples import drawn
from recray.data.grouped import settings_of
from recray.data.history import History, open_history
from recray.data.ingest import ingest
from recray.data.replay import Draw, Moment, asked, moments
from recray.experiments.assign import Experiments
from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.profiles import Profiles, columns
from recray.features.vectorize import ranker_input
from recray.ranking import boosted, deep
from recray.ranking.prerank import distil
from recray.ranking.ranker import Examples
from recray.recommend import N_HISTORY, FeatureLookup, Parts, guards_of
from recray.schema import ProfileKey, ProfileSettings
from recray.serving.service import Service
from recray.serving.shelf import BundleShelf
from recray.serving.stages import LocalCandidates, LocalRanking, StoredProfiles
from recray.settings import Settings, resolve
from recray.simulation.world import WorldSettings, build
from recray.stores.connect import open_store
from recray.stores.lake import Lake
from recray.stores.memory import MemoryStore
from recray.stores.registry import Registry

NOW_S = 1_800_000_000
_SMALL = {
    "scale": "smoke",
    "sequence": {"epochs": 1, "dim": 16, "max_length": 20},
    "deep": {"epochs": 1, "hidden": [32, 16], "embedding_dim": 8},
    "boosted": {"n_trees": 8},
    "examples": {"n_negatives": 15, "per_profile": 2},
    "serving": {"budgets": {"features_ms": 30_000, "candidates_ms": 30_000, "rank_ms": 30_000}},
}


@dataclass(frozen=True)
class BundleWorld:
    """Where it lies, what was learnt, and every profile's state as training knows it."""

    settings: Settings
    history: History
    bundle: Bundle
    states: dict[ProfileKey, ProfileState]
    profiles: dict[ProfileKey, ProfileSettings]

    async def store(self) -> MemoryStore:
        """A new in-memory store with every profile published."""
        store = MemoryStore(self.settings.store, now=lambda: float(NOW_S))
        await store.load([(key, fold.encode(state), self.profiles[key]) for key, state in self.states.items()])
        return store

    def unpaid(self, *paying: str) -> Bundle:
        """The bundle as training leaves it where only these rankers pay: in the order of a source."""
        return dataclasses.replace(
            self.bundle, manifest=self.bundle.manifest | {"chosen": "by-cowatch", "paying": list(paying)}
        )

    def shelf(self) -> BundleShelf:
        shelf = BundleShelf(Registry(self.settings.registry_dir))
        shelf.refresh()
        return shelf

    def parts(self, store: MemoryStore) -> Parts:
        return self.parts_on(self.shelf(), StoredProfiles(store))

    def parts_on(self, shelf: BundleShelf, features: FeatureLookup) -> Parts:
        return Parts(
            experiments=Experiments.load(None),
            features=features,
            candidates=LocalCandidates(shelf, self.settings.sources),
            ranking=LocalRanking(shelf),
            shelf=shelf,
            slate=self.settings.slate,
            timer=lambda: 0.0,
            guards=guards_of(self.settings.serving, lambda: 0.0),
        )

    def service(self, parts: Parts, store: MemoryStore, **others: Any) -> Service:
        """A gateway's application over these parts; what is not said is what a test seldom asks about."""
        said = {"limits": (32, 2), "now_s": lambda: NOW_S, "new_id": lambda: uuid.uuid4().hex} | others
        lake = Lake(self.settings.lake_dir)
        return Service(parts=parts, shelf=parts.shelf, store=store, events=self.settings.store, lake=lake, **said)

    def columns(self, keys: list[ProfileKey]) -> Profiles:
        return columns([self.states[key] for key in keys], [self.profiles[key] for key in keys])


def made(folders: pytest.TempPathFactory, name: str) -> BundleWorld:
    """A copy, in a folder of its own, of the one world of this run; whichever worker asks first makes it for all of them."""
    base = folders.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    original, home = shared / "bundle-world", folders.mktemp(name)
    with (shared / "bundle-world.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not original.exists():
            unfinished = folders.mktemp("bundle-world-unfinished")
            _make(unfinished)
            unfinished.rename(original)
    shutil.copytree(original, home, dirs_exist_ok=True)
    return _opened(home)


def _settings(home: Path) -> Settings:
    return resolve(_SMALL | {"home": str(home)})


def _words(lake: Lake, history: History) -> dict[ProfileKey, list[int]]:
    """Packed events of each profile."""
    events = lake.events("world")
    words, kept = packed(events, history.number_of)
    owners = [ProfileKey(u, p) for u, p in zip(events["user_id"].to_pylist(), events["profile_id"].to_pylist(), strict=True)]
    own: dict[ProfileKey, list[int]] = {}
    for key, word in zip(np.array(owners, object)[kept], words, strict=True):
        own.setdefault(key, []).append(int(word))
    return own


def _opened(home: Path) -> BundleWorld:
    settings = _settings(home)
    lake, registry = Lake(settings.lake_dir), Registry(settings.registry_dir)
    history = open_history(lake, "world", settings)
    states = {key: fold.fold(ProfileState(), np.array(own, np.uint64)) for key, own in _words(lake, history).items()}
    bundle_id = registry.alias("champion")
    assert bundle_id is not None
    bundle = from_bytes(bundle_id, *registry.read(bundle_id))
    return BundleWorld(settings, history, bundle, states, settings_of(history.profiles))


def _make(home: Path) -> None:
    """Import, fit, write, promote; some seconds."""
    settings = _settings(home)
    lake = Lake(settings.lake_dir)
    ingest(lake, "world", build(WorldSettings(n_titles=300, n_profiles=120, n_events=6_000, days=60)), report=lambda line: None)
    history = open_history(lake, "world", settings)
    items = history.catalogue(history.periods.sources_end_s)
    sources = fit_all(history.until(history.periods.sources_end_s), items, settings, seed=1, device="cpu",
                      report=lambda *figures: None)  # fmt: skip
    early = from_bytes("early", facts(), to_bytes(items, history.titles, sources, {}))
    examples = _examples(early, history, _words(lake, history), settings_of(history.profiles), settings)
    half = np.arange(len(examples)) % 2 == 0
    train, validation = examples.take(np.flatnonzero(half)), examples.take(np.flatnonzero(~half))
    rankers = {
        "deep": deep.fit(train, validation, items, settings.deep, seed=1, device="cpu", report=lambda figures: None),
        "boosted": boosted.fit(train, validation, items, settings.boosted, seed=1, report=lambda figures: None),
    }
    preranks = {name: distil(train.inputs, ranker, items) for name, ranker in rankers.items()}
    at = datetime.fromtimestamp(NOW_S, UTC)
    registry = Registry(settings.registry_dir)
    manifest = facts(created_at=at.isoformat(), data={"name": "world", "samples": []}, metrics={}, chosen="deep", gate={})
    bundle_id = registry.write(to_bytes(items, history.titles, sources, rankers, preranks), manifest)
    registry.point("champion", bundle_id, at)


async def publish(world: BundleWorld, url: str) -> None:
    """Load every profile into the store at a URL."""
    store = open_store(world.settings.store, url)
    await store.load([(key, fold.encode(state), world.profiles[key]) for key, state in world.states.items()])
    await store.close()


def _examples(
    bundle: Bundle,
    history: History,
    words: dict[ProfileKey, list[int]],
    profiles: dict[ProfileKey, ProfileSettings],
    settings: Settings,
) -> Examples:
    periods = history.periods
    draw = Draw(periods.sources_end_s, periods.end_s, settings.examples.horizon, 1.0, 2, 1)
    found: list[Moment] = [m for key, own in words.items() for m in moments(key, np.unique(np.array(own, np.uint64)), draw)]
    requests, seen = asked(found, [profiles[moment.key] for moment in found], 10)
    stage = CandidateStage(bundle.items, bundle.text, bundle.sources, settings.sources)
    candidates = stage.generate(requests, seen)
    batch = ranker_input(requests, seen, bundle.items, candidates, N_HISTORY)
    places, labels = drawn(found, candidates.items, settings.examples.n_negatives, 1)
    rows = np.arange(len(found))[:, None]
    padding = places < 0
    batch = dataclasses.replace(
        batch,
        items=np.where(padding, -1, batch.items[rows, np.maximum(places, 0)]).astype(np.int32),
        match=np.where(padding[..., None], 0, batch.match[rows, np.maximum(places, 0)]).astype(np.float32),
    )
    return Examples(batch, labels, requests.now_s, np.ones(places.shape, np.float32))

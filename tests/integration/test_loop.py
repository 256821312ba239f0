"""The loop on a real store and a real Ray: feedback in, sunk, folded by training, published while more comes in."""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from recray.catalog.titles import words as packed
from recray.data.grouped import folded
from recray.data.history import open_history
from recray.data.ingest import ingest
from recray.data.publish import publish
from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.items import Items
from recray.schema import ACTION_OF, DEVICE_OF, ProfileKey
from recray.serving.feedback import Feedback, Intake
from recray.settings import Settings, resolve
from recray.simulation.world import WorldSettings, build
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import settle_profile
from recray.stores.lake import Lake
from recray.stores.redis import RedisStore
from recray.training.run import bound_data
from sink_process import carry

_N_PROFILES = 40


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with EmbeddedStore.start(tmp_path) as server:
        sink = {"max_age_s": 0.1, "poll_s": 0.02, "claim_idle_s": 0.5, "upkeep_s": 0.5, "merge_parts": 3}
        store = {"url": server.url, "n_shards": 4, "timeout_s": 5.0}
        settings = resolve({"home": str(tmp_path), "scale": "smoke", "store": store, "sink": sink})
        world = build(WorldSettings(n_titles=120, n_profiles=_N_PROFILES, n_events=3_000, days=60))
        ingest(Lake(settings.lake_dir), "world", world, report=lambda line: None)
        yield settings


@dataclass
class Viewers:
    """Viewers who send feedback through the real intake, every kind of it, for as long as they are let."""

    settings: Settings
    items: Items
    keys: list[ProfileKey]
    accepted: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def act(self, n_batches: int | None = None) -> None:
        asyncio.run(self._act(n_batches))

    async def _act(self, n_batches: int | None) -> None:
        store = RedisStore(self.settings.store.url, self.settings.store)
        touched: set[ProfileKey] = set()
        intake = Intake(store, self.settings.store, touched.add)
        draw = np.random.default_rng(len(self.accepted))
        while not self.enough.is_set() and n_batches != 0:
            n_batches = None if n_batches is None else n_batches - 1
            now_s = time.time_ns() // 1_000_000_000
            sent = [self._event(draw, now_s, len(self.accepted) + n) for n in range(50)]
            verdicts = await intake.take(sent, self.items, now_s)
            self.accepted += [one.event_id or "" for one, said in zip(sent, verdicts, strict=True) if said == "accepted"]
            for key in list(touched)[::2]:
                await settle_profile(store, key)
            touched.clear()
            await asyncio.sleep(0.05)
        await store.close()

    def _event(self, draw: np.random.Generator, now_s: int, n: int) -> Feedback:
        # Few profiles do most of it, so that their recent window runs over many times.
        key = self.keys[int(draw.integers(len(self.keys)) * draw.random() ** 3)]
        action = list(ACTION_OF)[draw.integers(len(ACTION_OF))]
        return Feedback(
            user_id=key.user_id, profile_id=key.profile_id, content_id=self.items.content_ids[draw.integers(120)],
            action=action, timestamp=now_s - int(draw.integers(0, 400_000)), event_id=f"live-{n}-{draw.integers(1 << 40)}",
            value=float(draw.integers(1, 11)) / 2 if action == "rate" else None,
            progress=float(draw.integers(0, 64)) / 63 if draw.random() < 0.7 else None,
            device=list(DEVICE_OF)[draw.integers(len(DEVICE_OF))],
        )  # fmt: skip


def viewers(settings: Settings) -> Viewers:
    history = open_history(Lake(settings.lake_dir), "world", settings)
    return Viewers(settings, history.catalogue(history.periods.end_s), [*history.keys, ProfileKey("newcomer", "main")])


def online(settings: Settings, keys: list[ProfileKey]) -> dict[ProfileKey, bytes]:
    async def read() -> dict[ProfileKey, bytes]:
        store = RedisStore(settings.store.url, settings.store)
        records = await store.read(keys)
        await store.close()
        return {key: fold.encode(record.folded()) for key, record in zip(keys, records, strict=True)}

    return asyncio.run(read())


def offline(settings: Settings) -> dict[ProfileKey, bytes]:
    """As training folds them, by Ray Data."""
    lake = Lake(settings.lake_dir)
    number_of = open_history(lake, "world", settings).number_of
    rows = folded(lake.snapshot("world"), number_of, 2).take_all()
    return {ProfileKey(row["user_id"], row["profile_id"]): row["state"] for row in rows}


def by_hand(settings: Settings) -> dict[ProfileKey, bytes]:
    """As folded from the lake's own events, without Ray."""
    lake = Lake(settings.lake_dir)
    events = lake.events("world")
    words, _ = packed(events, open_history(lake, "world", settings).number_of)
    owners: dict[ProfileKey, list[int]] = {}
    for user_id, profile_id, word in zip(events["user_id"].to_pylist(), events["profile_id"].to_pylist(), words, strict=True):
        owners.setdefault(ProfileKey(user_id, profile_id), []).append(int(word))
    return {key: fold.encode(fold.fold(ProfileState(), np.unique(np.array(own, np.uint64)))) for key, own in owners.items()}


def test_state_of_training_and_of_serving_are_the_same_bytes_while_events_arrive(settings: Settings) -> None:
    alive = viewers(settings)
    bound_data(settings)
    alive.act(n_batches=20)
    stream = threading.Thread(target=alive.act)
    sink = multiprocessing.get_context("spawn").Process(
        target=carry, args=(settings.model_dump_json(), "world"), kwargs={"until_empty": False}
    )
    stream.start()
    sink.start()
    try:
        while Lake(settings.lake_dir).sunk("world").read().n_written < 3:
            assert sink.is_alive()
            time.sleep(0.05)
        n_before = len(alive.accepted)
        n_published = publish(Lake(settings.lake_dir), "world", RedisStore(settings.store.url, settings.store), settings)
        assert n_published >= _N_PROFILES
        assert len(alive.accepted) > n_before
    finally:
        alive.enough.set()
        stream.join()
        sink.kill()
        sink.join()
    result = settings.home / "sink.json"
    environment = os.environ | {"RECRAY_HOME": str(settings.home)}
    differences = settings.home / "settings.yaml"
    differences.write_text(json.dumps(settings.model_dump(mode="json", include={"store", "sink"})))
    time.sleep(settings.sink.claim_idle_s)
    command = ["sink", "--data", "world", "--until-empty", "--settings", str(differences), "--json", str(result)]
    subprocess.run([sys.executable, "-m", "recray.cli", *command], env=environment, check=True, timeout=120)
    told = json.loads(result.read_text())
    assert (told["left"], told["quarantined"], told["written_ever"]) == (0, 0, len(alive.accepted))
    in_lake = Counter(Lake(settings.lake_dir).events("world")["event_id"].to_pylist())
    assert {name: n for name, n in in_lake.items() if name.startswith("live-")} == dict.fromkeys(alive.accepted, 1)
    expected = offline(settings)
    assert expected == by_hand(settings)
    assert online(settings, list(expected)) == expected
    assert max(int(fold.decode(state).counters.sum()) for state in expected.values()) > 1_000

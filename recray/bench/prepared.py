"""What every contestant is given: the champion of a home, and a store of its own with that home's published profiles.

The home's store is only read: measuring logs every slate, and those must not become somebody's training data.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from recray.bench import monolith
from recray.bundle import from_bytes
from recray.errors import ConfigError, DataError
from recray.experiments.assign import DEFAULT_RANKER
from recray.features import fold
from recray.schema import Kind, ProfileKey, ProfileSettings, word
from recray.serving.asking import Asked
from recray.settings import Settings
from recray.simulation.audience import profiles_of
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore, shut_down
from recray.stores.lake import Lake
from recray.stores.registry import Registry

_CHUNK: Final = 1_000
_PATIENCE_MS: Final = 60_000.0
_SHOWN: Final = 20
_ROWS: Final = 10
_BY_ONE_RANKER: Final = (
    f"[{{name: measured, salt: measured, status: running, arms: {{all: {{ranker: {DEFAULT_RANKER}}}, none: {{weight: 0}}}}}}]\n"
)
_Published = list[tuple[ProfileKey, bytes, ProfileSettings]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The same for all: `settings` name the scratch store; `keys` are profiles with a state, in seeded random order."""

    settings: Settings
    folder: Path
    keys: list[ProfileKey]
    store_pid: int
    bundle_id: str
    data: str
    catalogue: int
    kind: str
    content_id: str
    response_cache: bool = False
    sink_served: bool = False

    def paths(self, endpoint: str) -> list[str]:
        """One request per profile: `flat` a list of 20 titles of the catalogue's commonest kind, `homepage` 10 rows of 20.

        Raises:
            ConfigError: the endpoint is neither.
        """
        asked = [self.asked(key, endpoint) for key in self.keys]
        return [f"/api/v1/recommendations/{one.page}?{urlencode(_parameters(one))}" for one in asked]

    def asked(self, key: ProfileKey, endpoint: str) -> Asked:
        """The same request of one profile, as it is inside.

        Raises:
            ConfigError: the endpoint is neither `flat` nor `homepage`.
        """
        if endpoint == "flat":
            return Asked("category", key.user_id, key.profile_id, _SHOWN, category=self.kind)
        if endpoint == "homepage":
            return Asked("homepage", key.user_id, key.profile_id, _SHOWN, _ROWS)
        raise ConfigError(f"endpoint is {endpoint!r}; expected flat or homepage")

    def settings_file(self, **serving: object) -> Path:
        """The settings as a file that only this user may read (they hold the store's password), with serving's differences."""
        found = self.settings.model_dump(mode="json")
        # Peers refuse nobody; whoever refused some would look faster for it.
        found["serving"] |= {"response_cache": self.response_cache, "most_delay_ms": _PATIENCE_MS} | serving
        # What is measured must not become somebody's training data: only who has a lake of its own has a sink.
        found["sink"]["served"] = self.sink_served
        file = self.folder / "settings.yaml"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(found, out)
        return file


@contextmanager
def prepared(settings: Settings, store_url: str, data: str | None, folder: Path) -> Iterator[Prepared]:
    """Copy the published profiles of a home's champion into a store under `folder`, which lives as long as the context.

    Raises:
        ModelError: the home has no champion.
        DataError: the champion has no deep ranker, or no profile of its data set is published.
    """
    registry = Registry(settings.registry_dir)
    bundle_id = registry.resolve("champion")
    bundle = from_bytes(bundle_id, *registry.read(bundle_id))
    order = bundle.order(DEFAULT_RANKER)
    if order not in bundle.rankers:
        raise DataError(
            f"champion {bundle_id} with the rankers {sorted(bundle.rankers)} orders lists by {order}, not "
            f"{DEFAULT_RANKER}: train one with it, and with evaluation.rankers_must_pay off where it need not prove itself"
        )
    data = data or str(bundle.manifest["data"]["name"])
    keys = [key for key, _ in profiles_of(Lake(settings.lake_dir), data, settings.training.seed)]
    published = asyncio.run(_published(settings, store_url, keys))
    if not published:
        raise DataError(f"no profile of {data!r} is published to the store of {settings.home}; run recray train with it")
    experiments = folder / "experiments.yaml"
    experiments.write_text(_BY_ONE_RANKER)
    with EmbeddedStore.start(folder) as store:
        asyncio.run(_load(settings, store.url, published))
        monolith.publish(store.url, published)
        given = settings.model_copy(
            update={
                "store": settings.store.model_copy(update={"url": store.url}),
                "experiments_file": experiments,
            }
        )
        kind = word(Kind(Counter(bundle.items.kind.tolist()).most_common(1)[0][0]))
        keys = [key for key, _, _ in published]
        try:
            yield Prepared(given, folder, keys, store.pid, bundle_id, data, bundle.items.n, kind, bundle.items.content_ids[0])
        finally:
            shut_down(folder)  # whichever it is by now: it may have been killed and started again


async def _published(settings: Settings, url: str, keys: list[ProfileKey]) -> _Published:
    store = open_store(settings.store, url)
    found: _Published = []
    try:
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            for key, record in zip(chunk, await store.read(chunk), strict=True):
                if record.state or record.inbox:
                    found.append((key, fold.encode(record.folded()), record.settings))
    finally:
        await store.close()
    return found


async def _load(settings: Settings, url: str, published: _Published) -> None:
    store = open_store(settings.store, url)
    try:
        await store.load(published)
    finally:
        await store.close()


def _parameters(asked: Asked) -> dict[str, str | int]:
    """The request as HTTP is asked for it."""
    who: dict[str, str | int] = {"user_id": asked.user_id, "profile_id": asked.profile_id}
    if asked.category:
        return who | {"category": asked.category, "num_recommendations": asked.n_items}
    return who | {"num_rows": asked.n_rows, "row_size": asked.n_items}

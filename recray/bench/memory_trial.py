"""What a profile costs in the store's memory: a store of made-up profiles, filled as serving fills it, and measured."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from recray.features import fold
from recray.schema import Action, Device, Event, ProfileKey, ProfileSettings
from recray.settings import StoreSettings
from recray.stores.embedded import EmbeddedStore
from recray.stores.event_log import settle_profile
from recray.stores.memory_use import MemoryUse
from recray.stores.online import Arrival
from recray.stores.redis import RedisStore

_PROFILES_AT_ONCE: Final = 20
_PATIENCE_S: Final = 30.0
_N_TITLES: Final = 15_000
_EVENING_S: Final = 14_400
_LAST_S: Final = 1_760_000_000


def memory_trial(settings: StoreSettings, n_profiles: int, n_events: int, seed: int) -> MemoryUse:
    """Memory of an embedded store of its own with so many profiles, each of so many events, which a sink has not trimmed yet.

    A profile plays titles that chance has drawn, some of an evening, on as many evenings as that takes.
    """
    with TemporaryDirectory() as folder, EmbeddedStore.start(Path(folder)) as server:
        return asyncio.run(_filled(server.url, settings, n_profiles, (n_events, seed)))


async def _filled(url: str, settings: StoreSettings, n_profiles: int, drawn: tuple[int, int]) -> MemoryUse:
    n_events, seed = drawn
    patient = settings.model_copy(update={"timeout_s": _PATIENCE_S})
    store, rng = RedisStore(url, patient), np.random.default_rng(seed)
    try:
        for start in range(0, n_profiles, _PROFILES_AT_ONCE):
            keys = [ProfileKey(f"user{n:09d}", "main") for n in range(start, min(start + _PROFILES_AT_ONCE, n_profiles))]
            await store.append([arrival for key in keys for arrival in _evenings(key, n_events, rng)])
            for key in keys:
                await settle_profile(store, key)
                await store.put_settings(key, ProfileSettings("US", "en", "25-34", 18))
        return await store.memory(n_profiles * (n_events * 2 + 4))
    finally:
        await store.close()


def _evenings(key: ProfileKey, n_events: int, rng: np.random.Generator) -> list[Arrival]:
    evening = np.sort(rng.integers(0, max(n_events // 2, 1), n_events))
    at_s = np.sort(_LAST_S - evening * 86_400 - rng.integers(0, _EVENING_S, n_events))
    titles, watched = rng.integers(0, _N_TITLES, n_events), rng.random(n_events)
    value = np.array([fold.packed_value(Action.PLAY, None, float(share)) for share in watched])
    full, tv = np.full(n_events, Action.PLAY), np.full(n_events, Device.TV)
    words = fold.pack(at_s, titles.astype(np.int32), full.astype(np.int32), tv.astype(np.int32), value.astype(np.int32))
    return [
        Arrival(
            Event(
                event_id=f"{key.user_id}-{n:04d}-{title}",
                user_id=key.user_id,
                profile_id=key.profile_id,
                content_id=f"tt{title:07d}",
                action=Action.PLAY,
                event_at_s=int(at),
                progress=float(share),
            ),
            int(word),
            int(at),
        )
        for n, (at, title, share, word) in enumerate(zip(at_s, titles, watched, words, strict=True))
    ]

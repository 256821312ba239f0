"""The parts of a request as objects of this process: what the fused topology uses, and what each deployment wraps."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recray.candidates.generate import CandidateStage
from recray.errors import DataError, StageError
from recray.features.fold import ProfileState
from recray.features.profiles import Profiles, columns
from recray.features.vectorize import RankerInput
from recray.schema import NOT_COUNTED, Candidates, Counted, Floats, ProfileKey, Requests
from recray.serving.live import LiveSources
from recray.serving.shelf import BundleShelf
from recray.settings import Settings, SourceSettings
from recray.stores.online import OnlineStore, ProfileRecord

_log = logging.getLogger(__name__)
_TURNS: Final = 3


@dataclass(frozen=True, slots=True)
class StoredProfiles:
    """Profiles out of the online store, in one round trip per batch."""

    store: OnlineStore

    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        """Up-to-date states; a profile without consent is answered as if it had no history."""
        return profiles_of_records(await self.store.read(keys))


def profiles_of_records(records: Sequence[ProfileRecord]) -> Profiles:
    """What the store holds of a batch of profiles, decoded."""
    return columns(
        [_state(record) for record in records],
        [record.settings for record in records],
        [record.version for record in records],
        [record.state if record.settings.consent and not record.inbox else None for record in records],
    )


def _state(record: ProfileRecord) -> ProfileState:
    if not record.settings.consent:
        return ProfileState()
    try:
        return record.folded()
    except DataError:
        # One unreadable state must not fail its whole batch; the viewer is answered as a new one until it is folded anew.
        _log.exception("profile state cannot be read; answering without it")
        return ProfileState()


async def _arrivals() -> None:
    """Let the event loop take in what arrived before it is busy: it finds input, makes a task of it, starts that."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class LocalCandidates:
    """The candidate stage over the bundles of this process, with what is watched right now where `live` reads it."""

    shelf: BundleShelf
    settings: SourceSettings
    live: LiveSources | None = None

    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, *, trace: bool, counted: Counted | None = None
    ) -> Candidates:
        """Candidates by the sources of one bundle, with the event loop's own thread (decision 0021)."""
        bundle = await self.shelf.held(bundle_id)
        made_at, sources = await self.live.of(bundle, counted) if self.live else (NOT_COUNTED, bundle.sources)
        stage = CandidateStage(bundle.items, bundle.text, sources, self.settings)
        await _arrivals()
        found = stage.generate(requests, profiles, trace=trace)
        found.counted = made_at
        return found


def live_candidates(shelf: BundleShelf, store: OnlineStore, settings: Settings, now_s: Callable[[], float]) -> LocalCandidates:
    """The candidate stage of a replica, which follows the live counts from now on."""
    live = LiveSources(shelf, store, settings.live, now_s) if settings.live.served else None
    if live is not None:
        live.start()
    return LocalCandidates(shelf, settings.sources, live)


@dataclass(frozen=True, slots=True)
class LocalRanking:
    """The rankers of the bundles of this process."""

    shelf: BundleShelf

    async def predict(self, bundle_id: str, ranker: str, batch: RankerInput) -> Floats:
        """Probabilities [B, K, n_objectives] by one ranker of one bundle.

        Raises:
            StageError: the bundle has no such ranker (the gate ships only rankers that pay), or its output is not finite.
        """
        rankers = (await self.shelf.held(bundle_id)).rankers
        if ranker not in rankers:
            raise StageError(f"bundle {bundle_id} has no ranker {ranker!r}; it has {sorted(rankers)}")
        await _arrivals()
        p = rankers[ranker].predict(batch)
        if not np.isfinite(p).all():
            raise StageError(f"ranker {ranker!r} of bundle {bundle_id} gave values that are not finite")
        return p

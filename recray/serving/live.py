"""What is watched right now, as a replica's sources read it: the newest version of the tally, laid out for each bundle in use.

Laid out once per version, off the event loop, and not per request. An answer takes one layout from first to last source.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from recray.bundle import Bundle
from recray.candidates.live import Live
from recray.candidates.popular import with_live
from recray.candidates.source import CandidateSource
from recray.errors import RecrayError
from recray.features.profiles import Profiles
from recray.features.tally import Tally, decode, title_digests
from recray.recommend import CandidateLookup
from recray.schema import NOT_COUNTED, Candidates, Counted, Requests, Words
from recray.serving.follower import TALLY
from recray.serving.shelf import BundleShelf
from recray.settings import LiveSettings
from recray.stores.online import OnlineStore

_log = logging.getLogger(__name__)
_GRAIN_S: Final = 60
"""Without a new version, sources are laid out anew this often, so that what was watched goes on to decay."""
Sources = Mapping[str, CandidateSource]


@dataclass
class LiveSources:
    """The sources of a replica's bundles as of now. State: the newest version read, and what was laid out of it.

    Used from one event loop; `now_s` gives seconds since 1970.
    """

    shelf: BundleShelf
    store: OnlineStore
    settings: LiveSettings
    now_s: Callable[[], float]
    _tally: tuple[int, Tally] | None = None
    _made: dict[str, tuple[Counted, Sources]] = field(default_factory=dict)
    _titles: dict[str, Words] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._versions = self.store.versions(TALLY)

    async def of(self, bundle: Bundle, counted: Counted | None = None) -> tuple[Counted, Sources]:
        """The sources of a bundle and which counts they hold: those of now, or those asked for while their version is kept.

        Until there is a version, and for a bundle that is not in use, those of the bundle alone.
        """
        current = self._made.get(bundle.id, (NOT_COUNTED, bundle.sources))
        if counted is None or counted == current[0]:
            return current
        if not counted.version:
            return counted, bundle.sources
        try:
            found = await self._versions.read(counted.version)
            tally = decode(found.value) if found is not None else None
        except RecrayError as problem:
            _log.warning("version %d of the tally cannot be read again: %s", counted.version, problem)
            tally = None
        if tally is None:
            return current
        return counted, await asyncio.to_thread(self._laid_out, bundle, tally, counted.at_s)

    def start(self) -> None:
        """Follow from now on, for as long as this object lives."""
        self._following = asyncio.ensure_future(self.follow())

    async def follow(self) -> None:
        """Refresh for ever; a store that is silent leaves what was read last, which decays."""
        while True:
            try:
                await self.refresh()
            except RecrayError as problem:
                _log.warning("the tally cannot be read, sources go on with what they have: %s", problem)
            except Exception:  # noqa: BLE001  # logged, and tried again
                # Whatever one version holds, it must not end the following for good.
                _log.exception("the tally could not be laid out; the next version is tried")
            await asyncio.sleep(self.settings.refresh_s)

    async def refresh(self) -> None:
        """Read the newest version if it is another, and lay it out for the bundles that aliases name.

        Raises:
            StoreError: the store did not answer.
            DataError: the version cannot be read.
        """
        held = self._tally[0] if self._tally else 0
        try:
            if await self._versions.newest() != held and (found := await self._versions.read(0)) is not None:
                self._tally = found.number, await asyncio.to_thread(decode, found.value)
        finally:
            await self._lay_out()

    async def _lay_out(self) -> None:
        if self._tally is None:
            return
        version, tally = self._tally
        counted = Counted(version, max(tally.at_s, int(self.now_s()) // _GRAIN_S * _GRAIN_S))
        bundles = [self.shelf.named(bundle_id) for bundle_id in set(self.shelf.aliases().values())]
        made = {}
        for bundle in bundles:
            at = self._made.get(bundle.id)
            if at is None or at[0] != counted:
                at = counted, await asyncio.to_thread(self._laid_out, bundle, tally, counted.at_s)
            made[bundle.id] = at
        self._made = made
        self._titles = {bundle_id: titles for bundle_id, titles in self._titles.items() if bundle_id in made}

    def _laid_out(self, bundle: Bundle, tally: Tally, at_s: int) -> Sources:
        titles = self._titles.get(bundle.id)
        if titles is None:
            titles = self._titles[bundle.id] = title_digests(bundle.items.content_ids)
        live = Live(tally, bundle.items, titles, at_s)
        return with_live(bundle.sources, live, self.settings.windows_h, self.settings.prior_shown)


@dataclass(frozen=True, slots=True)
class AsServed:
    """`CandidateLookup` with the live counts of an answer that was served."""

    lookup: CandidateLookup
    counted: Counted

    async def candidates(
        self, bundle_id: str, requests: Requests, profiles: Profiles, *, trace: bool, counted: Counted | None = None
    ) -> Candidates:
        return await self.lookup.candidates(bundle_id, requests, profiles, trace=trace, counted=self.counted)

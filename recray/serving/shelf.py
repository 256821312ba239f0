"""Bundles that a replica holds, by alias and id. During a swap it holds both, so every answer is of one bundle throughout."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from recray.bundle import Bundle, from_bytes
from recray.errors import ModelError, StageError
from recray.stores.registry import Registry

_log = logging.getLogger(__name__)
ALIASES = ("champion", "challenger")
_KEPT = 4


@dataclass
class BundleShelf:
    """Loaded bundles of one replica, each of which `warm` let answer before it was taken in.

    State: the bundles and what each alias names; touched by the replica's event loop only.
    A bundle that cannot be loaded is refused, logged and remembered, and the alias keeps naming the one before it.
    """

    registry: Registry
    with_rankers: bool = True
    warm: Callable[[Bundle], None] = lambda bundle: None
    _loaded: dict[str, Bundle] = field(default_factory=dict)
    _named: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _loading: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Whoever asks for a bundle that is being loaded waits for it: loading it twice would take twice as long."""

    def named(self, name: str) -> Bundle:
        """The loaded bundle of an alias or id; an alias that nothing was ever promoted to falls back to the champion.

        Raises:
            StageError: it is not loaded here.
        """
        bundle_id = self._named.get(name, name)
        bundle = self._loaded.get(bundle_id) or self._loaded.get(self._named.get(ALIASES[0], ""))
        if bundle is None or (bundle.id != bundle_id and name not in ALIASES):
            raise StageError(f"bundle {name!r} is not loaded; loaded are {sorted(self._loaded) or 'none'}: train, then promote")
        return bundle

    def champion(self) -> Bundle | None:
        """The bundle in charge, or None before the first one is loaded."""
        return self._loaded.get(self._named.get(ALIASES[0], ""))

    def load(self, bundle_id: str) -> Bundle:
        """Read, verify and restore a bundle, or hand out the one that is loaded already.

        Raises:
            ModelError: it does not verify, was made for other views, or cannot answer.
        """
        with self._loading:
            return self._loaded[bundle_id] if bundle_id in self._loaded else self._read(bundle_id)

    def _read(self, bundle_id: str) -> Bundle:
        manifest, files = self.registry.read(bundle_id)
        bundle = from_bytes(bundle_id, manifest, files, with_rankers=self.with_rankers)
        self.warm(bundle)
        self._loaded[bundle_id] = bundle
        self._forget(keep={bundle_id, *self._named.values()})
        return bundle

    def refresh(self) -> None:
        """Follow the registry's aliases; a bundle that cannot be loaded leaves its alias where it was."""
        for alias in ALIASES:
            bundle_id = self.registry.alias(alias)
            if bundle_id is None:
                self._named.pop(alias, None)
            elif self._named.get(alias) != bundle_id and bundle_id not in self.refused:
                try:
                    self.load(bundle_id)
                except ModelError as problem:
                    self.refused[bundle_id] = str(problem)
                    _log.exception("bundle %s refused; %s stays at %s", bundle_id, alias, self._named.get(alias))
                else:
                    self._named[alias] = bundle_id
                    _log.info("%s is now %s", alias, bundle_id)

    def _forget(self, keep: Iterable[str]) -> None:
        """Drop the oldest bundles beyond a few: recent ones stay for explanations and rollback."""
        spare = [bundle_id for bundle_id in self._loaded if bundle_id not in set(keep)]
        for bundle_id in spare[: max(len(self._loaded) - _KEPT, 0)]:
            del self._loaded[bundle_id]

    async def follow(self, every_s: float) -> None:
        """Refresh for ever, off the event loop, so that answers go on while a bundle loads."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.refresh)

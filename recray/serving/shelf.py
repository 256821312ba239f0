"""Bundles that a replica holds, by alias and id. During a swap it holds both, so every answer is of one bundle throughout."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from recray.bundle import Bundle, from_bytes
from recray.errors import ModelError, StageError
from recray.stores.registry import ALIASES, Registry

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
CHAMPION, CHALLENGER = ALIASES
_KEPT: Final = 4
_AGAIN: Final = 60
"""Polls after which a refused bundle is tried once more: a copy that was cut short may have been completed."""


@dataclass
class BundleShelf:
    """Loaded bundles of one replica, each of which `warm` let answer before it was taken in.

    `everywhere` returns once the replicas that answer together with this one hold a bundle too; only then an alias names it
    here. `refusing` is told of each refusal. A bundle that cannot be loaded is refused, logged and remembered, and the alias
    keeps naming the one before it. State: the bundles, the newest in use last, and what each alias names. Written by one
    thread at a time, as new dicts, so that the event loop reads it without waiting.
    """

    registry: Registry
    with_rankers: bool = True
    warm: Callable[[Bundle], None] = lambda bundle: None
    everywhere: Callable[[str], None] = lambda bundle_id: None
    refusing: Callable[[], None] = lambda: None
    refused: dict[str, str] = field(default_factory=dict)
    _loaded: dict[str, Bundle] = field(default_factory=dict)
    _named: dict[str, str] = field(default_factory=dict)
    _loading: dict[str, asyncio.Future[Bundle]] = field(default_factory=dict)
    _load_turn: threading.Lock = field(default_factory=threading.Lock)
    _follow_turn: threading.Lock = field(default_factory=threading.Lock)

    def named(self, name: str) -> Bundle:
        """The loaded bundle of an alias or id; an alias that nothing was ever promoted to falls back to the champion.

        Raises:
            StageError: it is not loaded here.
        """
        bundle_id = self._named.get(name, name)
        bundle = self._loaded.get(bundle_id) or self._loaded.get(self._named.get(CHAMPION, ""))
        if bundle is None or (bundle.id != bundle_id and name not in ALIASES):
            raise StageError(f"bundle {name!r} is not loaded; loaded are {sorted(self._loaded) or 'none'}: train, then promote")
        return bundle

    def champion(self) -> Bundle | None:
        """The bundle in charge, or None before the first one is loaded."""
        return self._loaded.get(self._named.get(CHAMPION, ""))

    def challenger(self) -> Bundle | None:
        """The bundle under test, or None without one that differs from the champion."""
        bundle_id = self._named.get(CHALLENGER, "")
        return None if bundle_id == self._named.get(CHAMPION) else self._loaded.get(bundle_id)

    def aliases(self) -> dict[str, str]:
        """Id by alias, as this replica answers."""
        return dict(self._named)

    async def held(self, bundle_id: str) -> Bundle:
        """A bundle by id; one that is not here yet is loaded off the event loop, once for all who ask meanwhile.

        Whoever gives up waiting does not end the loading.

        Raises:
            StageError: it cannot be loaded.
        """
        if (bundle := self._loaded.get(bundle_id)) is not None:
            return bundle
        if bundle_id in self.refused:
            raise StageError(f"bundle {bundle_id} was refused here: {self.refused[bundle_id]}")
        if bundle_id not in self._loading:
            self._loading[bundle_id] = asyncio.ensure_future(asyncio.to_thread(self.take, bundle_id))
            self._loading[bundle_id].add_done_callback(lambda done: (self._loading.pop(bundle_id), done.exception()))
        try:
            return await asyncio.shield(self._loading[bundle_id])
        except ModelError as problem:
            raise StageError(f"bundle {bundle_id} is not held here and cannot be loaded: {problem}") from problem

    def load(self, bundle_id: str) -> Bundle:
        """Read, verify and restore a bundle, or hand out the one that is loaded already.

        Raises:
            ModelError: it does not verify, was made for other views, or cannot answer.
        """
        with self._load_turn:
            if bundle_id not in self._loaded:
                bundle = self._restored(bundle_id)
                kept = self._recent({bundle_id, *self._named.values()}, _KEPT - 1)
                self._loaded = {**kept, bundle_id: bundle}
                self.refused.pop(bundle_id, None)
            return self._loaded[bundle_id]

    def _restored(self, bundle_id: str) -> Bundle:
        try:
            manifest, files = self.registry.read(bundle_id)
            bundle = from_bytes(bundle_id, manifest, files, with_rankers=self.with_rankers)
            self.warm(bundle)
        except ModelError:
            raise
        except Exception as problem:
            # Whatever is wrong inside a bundle, it must not keep the replica from following the next one.
            raise ModelError(f"bundle {bundle_id} cannot be loaded: {problem!r}; train a new one") from problem
        return bundle

    def _recent(self, keep: Collection[str], n: int) -> dict[str, Bundle]:
        """Without the oldest bundles beyond n: recent ones stay for requests under way, explanations and rollback."""
        spare = [bundle_id for bundle_id in self._loaded if bundle_id not in keep]
        gone = spare[: max(len(self._loaded) - n, 0)]
        return {bundle_id: bundle for bundle_id, bundle in self._loaded.items() if bundle_id not in gone}

    def take(self, bundle_id: str) -> Bundle:
        """A bundle that is ready to answer: held here and wherever else it will be asked for.

        Raises:
            ModelError: it cannot be loaded, here or there.
            StageError: others did not say whether they hold it; ask again.
        """
        try:
            bundle = self.load(bundle_id)
            self.everywhere(bundle_id)
        except ModelError as problem:
            if bundle_id not in self.refused:
                self.refusing()
            self.refused[bundle_id] = str(problem)
            _log.exception("bundle %s refused", bundle_id)
            raise
        self.refused.pop(bundle_id, None)
        return bundle

    def refresh(self, *, again: bool = False) -> None:
        """Follow the registry's aliases; a bundle that cannot be loaded leaves its alias where it was.

        A replica that starts while champion names such a bundle takes the last one of its history that can be loaded. `again`
        tries refused bundles once more.
        """
        with self._follow_turn:
            for alias in ALIASES:
                bundle_id = self.registry.alias(alias)
                if bundle_id is None:
                    self._named = _without(self._named, alias)
                elif self._named.get(alias) != bundle_id and (again or bundle_id not in self.refused):
                    self._name(alias, bundle_id)
            if CHAMPION not in self._named:
                self._last_good()

    def _last_good(self) -> None:
        for bundle_id in dict.fromkeys(entry["id"] for entry in reversed(self.registry.history(CHAMPION))):
            if bundle_id not in self.refused and self._name(CHAMPION, bundle_id):
                return

    def _name(self, alias: str, bundle_id: str) -> bool:
        try:
            self.take(bundle_id)
        except (ModelError, StageError) as problem:
            _log.warning("%s stays at %s: %s", alias, self._named.get(alias), problem)
            return False
        with self._load_turn:
            # What the alias leaves is the last to be forgotten: requests under way are still answered by it.
            before = self._loaded.get(self._named.get(alias, ""))
            if before is not None:
                self._loaded = _without(self._loaded, before.id) | {before.id: before}
            self._named = self._named | {alias: bundle_id}
        _log.info("%s is now %s", alias, bundle_id)
        return True

    async def follow(self, every_s: float) -> None:
        """Refresh for ever, off the event loop, so that answers go on while a bundle loads."""
        polls = 0
        while True:
            await asyncio.sleep(every_s)
            polls += 1
            try:
                await asyncio.to_thread(self.refresh, again=polls % _AGAIN == 0)
            except Exception:  # noqa: BLE001  # logged, and tried again
                # A registry that cannot be read for a moment must not end the following for good.
                _log.exception("the aliases cannot be read; they are looked at again in %s s", every_s)


def _without(held: Mapping[str, _T], name: str) -> dict[str, _T]:
    return {other: value for other, value in held.items() if other != name}

"""Which bundle is in charge, and how an operator changes that while requests go on."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from recray.errors import ModelError
from recray.serving.shelf import CHAMPION, BundleShelf
from recray.stores.registry import ALIASES, Registry

PATIENCE_S: Final = 2.0
"""Less than `RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S`."""
_HEADLINES: Final = ("created_at", "metrics", "data", "git_commit", "gate", "chosen", "rankers")


@dataclass
class Swaps:
    """Promotion and rollback through one gateway. State: what is under way, and whose turn it is; one change at a time.

    What takes longer than `patience_s` goes on behind the answer, which names it in `under_way`: a request that stays without
    an answer is handed to another replica. If it is refused then, `refused` of later answers says why.
    """

    shelf: BundleShelf
    now_s: Callable[[], int]
    patience_s: float = PATIENCE_S
    _under_way: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    async def listed(self) -> dict[str, Any]:
        """The registry's bundles, newest first, with their manifests' headline facts, and what each alias names.

        `refused` says why this replica refuses a bundle, `answering` what it answers by.
        """
        return await asyncio.to_thread(self._listed)

    async def promote(self, bundle_id: str) -> dict[str, Any]:
        """Let a bundle answer on trial here and wherever this gateway asks, then let champion name it.

        This replica answers by it on return; others follow within their poll interval. Promoting it again changes nothing.

        Raises:
            ModelError: it is unknown, does not verify, was made for other views, or cannot answer; the alias stays.
            StageError: a deployment did not say whether it holds it; the alias stays.
        """
        return await self._patiently(bundle_id, lambda: self._promoted(bundle_id))

    async def rollback(self, leaving: str | None = None) -> dict[str, Any]:
        """Let champion name what it named before.

        With `leaving` it is safe to repeat: once champion names another bundle, nothing changes any more.

        Raises:
            ModelError: there is nothing before it, the bundle to leave was never in charge, or the one before is refused.
            StageError: as for `promote`.
        """
        return await self._patiently(f"rollback of {leaving or 'the champion'}", lambda: self._rolled_back(leaving))

    async def _patiently(self, what: str, change: Callable[[], None]) -> dict[str, Any]:
        task = self._under_way.get(what)
        if task is None:
            task = self._under_way[what] = asyncio.ensure_future(asyncio.to_thread(change))
            task.add_done_callback(lambda ended: (self._under_way.pop(what), ended.cancelled() or ended.exception()))
        done, _ = await asyncio.wait({task}, timeout=self.patience_s)
        if done:
            task.result()
        return await self.listed() | {"under_way": None if done else what}

    def _listed(self) -> dict[str, Any]:
        registry = self.shelf.registry
        aliases = {alias: registry.alias(alias) for alias in ALIASES}
        found = []
        for bundle_id in sorted(registry.ids(), reverse=True):
            named = [alias for alias, other in aliases.items() if other == bundle_id]
            found.append({"id": bundle_id, "aliases": named, **_headlines(registry, bundle_id)})
        return {"bundles": found, **aliases, "refused": self.shelf.refused, "answering": self.shelf.aliases()}

    def _promoted(self, bundle_id: str) -> None:
        with self._turn:
            self._point(bundle_id)

    def _point(self, name_or_id: str) -> None:
        registry = self.shelf.registry
        bundle_id = registry.resolve(name_or_id)
        self.shelf.take(bundle_id)
        if registry.alias(CHAMPION) != bundle_id:
            registry.point(CHAMPION, bundle_id, datetime.fromtimestamp(self.now_s(), UTC))
        self.shelf.refresh()

    def _rolled_back(self, leaving: str | None) -> None:
        with self._turn:
            registry = self.shelf.registry
            current = registry.alias(CHAMPION)
            if leaving in {None, current}:
                before = registry.previous(CHAMPION)
                if before is None:
                    raise ModelError("champion never named another bundle; there is nothing to roll back to")
                self._point(before)
            elif leaving not in {entry["id"] for entry in registry.history(CHAMPION)}:
                raise ModelError(f"bundle {leaving!r} was never in charge, so it cannot be left; champion names {current}")


def _headlines(registry: Registry, bundle_id: str) -> dict[str, Any]:
    try:
        manifest = registry.manifest(bundle_id)
    except ModelError as problem:
        # One damaged bundle must not hide the others from the operator who has to choose among them.
        return dict.fromkeys(_HEADLINES) | {"damaged": str(problem)}
    return {name: manifest.get(name) for name in _HEADLINES}

"""A promotion that takes long is answered before it ends, is begun once, and says later what became of it."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from recray.bundle import Bundle
from recray.errors import ModelError
from recray.serving import service as service_module
from recray.serving.service import Service
from recray.serving.shelf import BundleShelf
from recray.settings import StoreSettings
from recray.stores.lake import Lake
from recray.stores.memory import MemoryStore
from recray.stores.registry import Registry


class SlowShelf(BundleShelf):
    """A shelf over a real registry whose bundles are read when the test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(Registry(root))
        self.may_read, self.n_read = threading.Event(), 0

    def _read(self, bundle_id: str) -> Bundle:
        self.n_read += 1
        self.may_read.wait(30)
        if not self.registry.manifest(bundle_id).get("good"):
            raise ModelError(f"bundle {bundle_id} cannot answer")
        self._loaded[bundle_id] = cast(Bundle, SimpleNamespace(id=bundle_id))
        return self._loaded[bundle_id]


def bundle(shelf: SlowShelf, *, good: bool) -> str:
    """The id of a bundle without files that loads, or does not."""
    return shelf.registry.write({}, {"created_at": "2027-01-01T00:00:00+00:00", "good": good})


@pytest.fixture
def shelf(tmp_path: Path) -> SlowShelf:
    return SlowShelf(tmp_path)


@pytest.fixture
def service(shelf: SlowShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(service_module, "_PATIENCE_S", 0.05)
    parts: Any = SimpleNamespace(timer=lambda: 0.0)
    store = MemoryStore(StoreSettings(), now=lambda: 0.0)
    return Service(parts, shelf, store, (1, 1), StoreSettings(), lambda: 1_800_000_000, lambda: "id", Lake(tmp_path))


async def until(met: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def test_a_long_promotion_goes_on_behind_its_answer(service: Service, shelf: SlowShelf) -> None:
    wanted = bundle(shelf, good=True)
    told = await service.promote(wanted)
    assert (told["under_way"], told["champion"]) == (wanted, None)
    shelf.may_read.set()
    await until(lambda: shelf.registry.alias("champion") == wanted)


async def test_asking_again_begins_no_second_promotion(service: Service, shelf: SlowShelf) -> None:
    wanted = bundle(shelf, good=True)
    assert [(await service.promote(wanted))["under_way"] for _ in range(3)] == [wanted] * 3
    shelf.may_read.set()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert shelf.n_read == 1
    assert len(shelf.registry.history("champion")) == 1


async def test_a_quick_promotion_is_answered_when_it_is_in_charge(
    service: Service, shelf: SlowShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_PATIENCE_S", 30.0)
    wanted = bundle(shelf, good=True)
    shelf.may_read.set()
    told = await service.promote(wanted)
    assert (told["under_way"], told["champion"]) == (None, wanted)


async def test_a_refusal_after_the_answer_is_told_with_its_reason(service: Service, shelf: SlowShelf) -> None:
    bad = bundle(shelf, good=False)
    assert (await service.promote(bad))["under_way"] == bad
    shelf.may_read.set()
    await until(lambda: bad in shelf.refused)
    assert (await service.bundles())["refused"] == {bad: f"bundle {bad} cannot answer"}
    assert shelf.registry.alias("champion") is None


async def test_whoever_asks_for_a_bundle_that_is_being_loaded_waits_for_that_load(shelf: SlowShelf) -> None:
    wanted = bundle(shelf, good=True)
    loads = [asyncio.create_task(asyncio.to_thread(shelf.load, wanted)) for _ in range(4)]
    await until(lambda: shelf.n_read == 1)
    shelf.may_read.set()
    assert {loaded.id for loaded in await asyncio.gather(*loads)} == {wanted}
    assert shelf.n_read == 1

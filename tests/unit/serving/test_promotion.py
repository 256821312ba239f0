"""A promotion that takes long is answered before it ends, is begun once, and says later what became of it."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from recray.bundle import Bundle
from recray.errors import ModelError
from recray.serving.shelf import BundleShelf
from recray.serving.swaps import Swaps
from recray.stores.registry import Registry


class SlowShelf(BundleShelf):
    """A shelf over a real registry whose bundles are read when the test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(Registry(root))
        self.may_read, self.n_read = threading.Event(), 0

    def _restored(self, bundle_id: str) -> Bundle:
        self.n_read += 1
        self.may_read.wait(30)
        if not self.registry.manifest(bundle_id).get("good"):
            raise ModelError(f"bundle {bundle_id} cannot answer")
        return cast(Bundle, SimpleNamespace(id=bundle_id))


def bundle(shelf: SlowShelf, *, good: bool) -> str:
    """The id of a bundle without files that loads, or does not."""
    return shelf.registry.write({}, {"created_at": "2027-01-01T00:00:00+00:00", "good": good})


@pytest.fixture
def shelf(tmp_path: Path) -> SlowShelf:
    return SlowShelf(tmp_path)


@pytest.fixture
def swaps(shelf: SlowShelf) -> Swaps:
    return Swaps(shelf, lambda: 1_800_000_000, patience_s=0.05)


async def until(met: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def test_a_long_promotion_goes_on_behind_its_answer(swaps: Swaps, shelf: SlowShelf) -> None:
    wanted = bundle(shelf, good=True)
    told = await swaps.promote(wanted)
    assert (told["under_way"], told["champion"]) == (wanted, None)
    shelf.may_read.set()
    await until(lambda: shelf.registry.alias("champion") == wanted)


async def test_asking_again_begins_no_second_promotion(swaps: Swaps, shelf: SlowShelf) -> None:
    wanted = bundle(shelf, good=True)
    assert [(await swaps.promote(wanted))["under_way"] for _ in range(3)] == [wanted] * 3
    shelf.may_read.set()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert shelf.n_read == 1
    assert len(shelf.registry.history("champion")) == 1


async def test_a_quick_promotion_is_answered_when_it_is_in_charge(swaps: Swaps, shelf: SlowShelf) -> None:
    swaps.patience_s = 30.0
    wanted = bundle(shelf, good=True)
    shelf.may_read.set()
    told = await swaps.promote(wanted)
    assert (told["under_way"], told["champion"]) == (None, wanted)


async def test_a_refusal_after_the_answer_is_told_with_its_reason(swaps: Swaps, shelf: SlowShelf) -> None:
    bad = bundle(shelf, good=False)
    assert (await swaps.promote(bad))["under_way"] == bad
    shelf.may_read.set()
    await until(lambda: bad in shelf.refused)
    assert (await swaps.listed())["refused"] == {bad: f"bundle {bad} cannot answer"}
    assert shelf.registry.alias("champion") is None


async def test_whoever_asks_for_a_bundle_that_is_being_loaded_waits_for_that_load(shelf: SlowShelf) -> None:
    wanted = bundle(shelf, good=True)
    loads = [asyncio.create_task(asyncio.to_thread(shelf.load, wanted)) for _ in range(4)]
    await until(lambda: shelf.n_read == 1)
    shelf.may_read.set()
    assert {loaded.id for loaded in await asyncio.gather(*loads)} == {wanted}
    assert shelf.n_read == 1

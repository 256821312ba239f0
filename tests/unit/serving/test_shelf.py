"""What a replica holds while aliases move: the old bundle until the new one answers everywhere, and never a broken one."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recray.errors import ModelError, StageError
from recray.serving import shelf as shelf_module
from recray.serving.shelf import BundleShelf
from recray.stores.registry import Registry

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles without contents: only who holds which is looked at here."""

    def from_bytes(bundle_id: str, manifest: dict[str, Any], files: Any, *, with_rankers: bool) -> Any:
        return SimpleNamespace(id=bundle_id, manifest=manifest)

    monkeypatch.setattr(shelf_module, "from_bytes", from_bytes)


def written(registry: Registry, n: int) -> list[str]:
    return [registry.write({"n": b"%d" % k}, {"created_at": NOON + timedelta(days=k)}) for k in range(n)]


def point(registry: Registry, alias: str, bundle_id: str) -> None:
    registry.point(alias, bundle_id, NOON)


def told(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event of a loop from another thread."""
    loop.call_soon_threadsafe(event.set)


def refusing(*bad: str) -> Callable[[Any], None]:
    def warm(bundle: Any) -> None:
        if bundle.id in bad:
            raise ModelError(f"{bundle.id} gives values that are not finite")

    return warm


def test_an_alias_that_moves_is_followed_and_the_bundle_it_left_is_still_held(registry: Registry) -> None:
    first, second = written(registry, 2)
    point(registry, "champion", first)
    shelf = BundleShelf(registry)
    shelf.refresh()
    point(registry, "champion", second)
    shelf.refresh()
    assert shelf.named("champion").id == second
    assert shelf.named(first).id == first
    assert shelf.aliases() == {"champion": second}


def test_a_refused_bundle_leaves_the_alias_where_it_was_and_is_told_of_once(registry: Registry) -> None:
    first, second = written(registry, 2)
    counted: list[int] = []
    shelf = BundleShelf(registry, warm=refusing(second), refusing=lambda: counted.append(1))
    for bundle_id in (first, second):
        point(registry, "champion", bundle_id)
        shelf.refresh()
    shelf.refresh()
    assert shelf.named("champion").id == first
    assert shelf.refused == {second: f"{second} gives values that are not finite"}
    assert counted == [1]


@pytest.mark.parametrize("problem", [KeyError("sources.json"), MemoryError(), ZeroDivisionError()])
def test_whatever_goes_wrong_in_a_bundle_is_a_refusal(registry: Registry, problem: Exception) -> None:
    def warm(bundle: Any) -> None:
        raise problem

    (only,) = written(registry, 1)
    point(registry, "champion", only)
    shelf = BundleShelf(registry, warm=warm)
    shelf.refresh()
    assert shelf.champion() is None
    assert "cannot be loaded" in shelf.refused[only]


def test_a_refused_bundle_that_was_mended_is_taken_when_it_is_tried_again(registry: Registry, tmp_path: Path) -> None:
    (only,) = written(registry, 1)
    point(registry, "champion", only)
    file = tmp_path / "bundles" / only / "n"
    file.write_bytes(b"cut")
    shelf = BundleShelf(registry)
    shelf.refresh()
    file.write_bytes(b"0")
    shelf.refresh()
    assert shelf.champion() is None
    shelf.refresh(again=True)
    assert shelf.named("champion").id == only
    assert shelf.refused == {}


def test_a_replica_that_starts_on_a_broken_champion_takes_the_last_one_that_loads(registry: Registry) -> None:
    oldest, older, broken = written(registry, 3)
    for bundle_id in (oldest, older, broken):
        point(registry, "champion", bundle_id)
    shelf = BundleShelf(registry, warm=refusing(broken))
    shelf.refresh()
    assert shelf.named("champion").id == older


def test_an_alias_moves_here_only_after_the_others_hold_the_bundle_too(registry: Registry) -> None:
    first, second = written(registry, 2)
    named: list[str | None] = []

    def everywhere(bundle_id: str) -> None:
        champion = shelf.champion()
        named.append(champion and champion.id)

    shelf = BundleShelf(registry, everywhere=everywhere)
    for bundle_id in (first, second):
        point(registry, "champion", bundle_id)
        shelf.refresh()
    assert named == [None, first]


def test_others_that_do_not_answer_hold_a_swap_up_and_others_that_refuse_end_it(registry: Registry) -> None:
    first, second = written(registry, 2)
    point(registry, "champion", first)
    problems: list[Exception] = []

    def everywhere(bundle_id: str) -> None:
        if problems:
            raise problems[0]

    shelf = BundleShelf(registry, everywhere=everywhere)
    shelf.refresh()
    point(registry, "champion", second)
    problems.append(StageError("a replica died"))
    shelf.refresh()
    assert (shelf.named("champion").id, shelf.refused) == (first, {})
    problems.clear()
    shelf.refresh()
    assert shelf.named("champion").id == second
    point(registry, "champion", first)
    problems.append(ModelError("not here"))
    shelf.refresh()
    assert (shelf.named("champion").id, shelf.refused) == (second, {first: "not here"})


async def test_a_bundle_that_is_asked_for_by_id_is_loaded_once_while_the_loop_turns(registry: Registry) -> None:
    (only,) = written(registry, 1)
    loads: list[str] = []
    began, go_on, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def warm(bundle: Any) -> None:
        loads.append(bundle.id)
        told(loop, began)
        assert go_on.wait(10)

    shelf = BundleShelf(registry, warm=warm)
    asked = [asyncio.ensure_future(shelf.held(only)) for _ in range(50)]
    await began.wait()
    asked[0].cancel()
    go_on.set()
    found = await asyncio.gather(*asked[1:])
    assert {bundle.id for bundle in found} == {only}
    assert loads == [only]


async def test_a_bundle_that_cannot_be_held_fails_its_stage_and_is_not_read_again_for_every_request(registry: Registry) -> None:
    (only,) = written(registry, 1)
    warmed: list[str] = []

    def warm(bundle: Any) -> None:
        warmed.append(bundle.id)
        raise ModelError("no")

    shelf = BundleShelf(registry, warm=warm)
    for _ in range(3):
        with pytest.raises(StageError, match="no"):
            await shelf.held(only)
    assert warmed == [only]


def test_a_few_bundles_are_kept_and_the_one_just_left_is_the_last_to_go(registry: Registry) -> None:
    first, second, *others = written(registry, 9)
    shelf = BundleShelf(registry)
    for bundle_id in (first, second):
        point(registry, "champion", bundle_id)
        shelf.refresh()
    for bundle_id in others:
        shelf.load(bundle_id)
        assert len(shelf._loaded) <= 4
        assert shelf.named("champion").id == second
        if bundle_id in others[:2]:
            assert shelf.named(first).id == first


def test_there_is_no_challenger_that_is_the_champion(registry: Registry) -> None:
    first, second = written(registry, 2)
    point(registry, "champion", first)
    shelf = BundleShelf(registry)
    shelf.refresh()
    assert shelf.challenger() is None
    for bundle_id, expected in ((first, None), (second, second)):
        point(registry, "challenger", bundle_id)
        shelf.refresh()
        assert getattr(shelf.challenger(), "id", None) == expected


async def test_a_registry_that_cannot_be_read_for_a_moment_does_not_end_the_following(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = written(registry, 1)
    point(registry, "champion", only)
    loaded, loop = asyncio.Event(), asyncio.get_running_loop()
    shelf = BundleShelf(registry, warm=lambda bundle: told(loop, loaded))
    alias, failures = registry.alias, [OSError("stale file handle")]

    def failing(name: str) -> str | None:
        if failures:
            raise failures.pop()
        return alias(name)

    monkeypatch.setattr(registry, "alias", failing)
    following = asyncio.ensure_future(shelf.follow(0.001))
    await asyncio.wait_for(loaded.wait(), 10)
    following.cancel()
    assert not failures

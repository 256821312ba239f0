"""Promotion and rollback by an operator: refused before anything moves, and safe to repeat."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recray.errors import ModelError
from recray.serving import shelf as shelf_module
from recray.serving.shelf import BundleShelf
from recray.serving.swaps import Swaps
from recray.stores.registry import Registry

CREATED = "2026-11-22T12:00:00+00:00"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(shelf_module, "from_bytes", lambda bundle_id, *_, **__: SimpleNamespace(id=bundle_id))
    return Registry(tmp_path)


def written(registry: Registry, n: int) -> list[str]:
    return [registry.write({"n": b"%d" % k}, {"created_at": CREATED, "chosen": "deep", "n": k}) for k in range(n)]


def swaps(registry: Registry, *bad: str) -> Swaps:
    def warm(bundle: Any) -> None:
        if bundle.id in bad:
            raise ModelError(f"{bundle.id} cannot answer")

    return Swaps(BundleShelf(registry, warm=warm), lambda: 1_800_000_000)


def history(registry: Registry) -> list[str]:
    return [entry["id"] for entry in registry.history("champion")]


async def test_a_promoted_bundle_answers_here_on_return_and_again_changes_nothing(registry: Registry) -> None:
    first, second = written(registry, 2)
    change = swaps(registry)
    for bundle_id in (first, second, second):
        listed = await change.promote(bundle_id)
        assert listed["champion"] == listed["answering"]["champion"] == bundle_id
    assert history(registry) == [first, second]
    assert {one["chosen"] for one in listed["bundles"]} == {"deep"}


async def test_a_bundle_that_cannot_answer_is_refused_and_the_alias_stays(registry: Registry) -> None:
    first, second = written(registry, 2)
    change = swaps(registry, second)
    await change.promote(first)
    with pytest.raises(ModelError, match="cannot answer"):
        await change.promote(second)
    with pytest.raises(ModelError, match="names no bundle"):
        await change.promote("20261122T120000-ffffff")
    listed = await change.listed()
    assert listed["champion"] == first
    assert list(listed["refused"]) == [second]


async def test_a_rollback_that_names_what_it_leaves_is_safe_to_repeat(registry: Registry) -> None:
    first, second = written(registry, 2)
    change = swaps(registry)
    await change.promote(first)
    await change.promote(second)
    for _ in range(3):
        assert (await change.rollback(second))["champion"] == first
    assert history(registry) == [first, second, first]
    assert (await change.rollback())["champion"] == second


async def test_a_rollback_needs_something_to_leave_and_something_to_go_to(registry: Registry) -> None:
    first, stranger = written(registry, 2)
    change = swaps(registry)
    await change.promote(first)
    with pytest.raises(ModelError, match="nothing to roll back to"):
        await change.rollback()
    with pytest.raises(ModelError, match="never in charge"):
        await change.rollback(stranger)


async def test_a_damaged_bundle_hides_no_other_from_the_list(registry: Registry, tmp_path: Path) -> None:
    first, second = written(registry, 2)
    (tmp_path / "bundles" / second / "manifest.json").write_bytes(b"{")
    listed = {one["id"]: one for one in (await swaps(registry).listed())["bundles"]}
    assert listed[first]["chosen"] == "deep"
    assert "altered or truncated" in listed[second]["damaged"]

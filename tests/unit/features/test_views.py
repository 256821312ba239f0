"""Declarations of features: widths, names, fingerprint."""

import dataclasses
from typing import Any

import pytest

from recray.features import views


@pytest.mark.parametrize(
    ("entity", "width"), [("user", 50), ("context", 10), ("item", 30), ("match", 2 * len(views.SOURCES) + 6)]
)
def test_widths_are_what_the_models_were_drawn_for(entity: Any, width: int) -> None:
    assert views.width(entity) == width
    assert len(views.column_names(entity)) == len(set(views.column_names(entity))) == width


def test_every_view_belongs_to_one_entity_and_no_name_repeats_within_it() -> None:
    entities = ("user", "context", "item", "match")
    assert sum(len(views.of(entity)) for entity in entities) == len(views.VIEWS)
    for entity in entities:
        names = [view.name for view in views.of(entity)]
        assert len(names) == len(set(names))


def test_sources_are_named_once_each() -> None:
    assert len(set(views.SOURCES)) == len(views.SOURCES)


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"width": 3}, {"default": 1.0}, {"window": "a week"}, {"entity": "item"}, {"compute": print}]
)
def test_fingerprint_changes_with_any_part_of_a_declaration(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    before = views.fingerprint()
    monkeypatch.setattr(views, "VIEWS", (dataclasses.replace(views.VIEWS[0], **change), *views.VIEWS[1:]))
    assert views.fingerprint() != before


@pytest.mark.parametrize("name", ["VIEWS", "SOURCES"])
def test_fingerprint_changes_with_the_order(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = views.fingerprint()
    monkeypatch.setattr(views, name, tuple(reversed(getattr(views, name))))
    assert views.fingerprint() != before


def test_fingerprint_is_the_same_in_every_call() -> None:
    assert views.fingerprint() == views.fingerprint()
    assert len(views.fingerprint()) == 16

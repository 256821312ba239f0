"""The error tree: what stops, what degrades, what is the client's fault, and which builtin each also is."""

import inspect

import pytest

from recray import errors

TREE = {
    errors.ConfigError: (errors.RecrayError, ValueError),
    errors.DataError: (errors.RecrayError, ValueError),
    errors.ModelError: (errors.RecrayError, ValueError),
    errors.NotFittedError: (errors.ModelError, ValueError),
    errors.StageError: (errors.RecrayError, RuntimeError),
    errors.StoreError: (errors.StageError, ConnectionError),
    errors.RequestError: (errors.RecrayError, ValueError),
    errors.UnknownTitleError: (errors.RequestError, KeyError),
    errors.UnknownRecommendationError: (errors.RequestError, KeyError),
}


def test_every_error_has_its_place_in_the_tree() -> None:
    declared = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind is not errors.RecrayError and kind.__module__ == errors.__name__
    }
    assert declared == set(TREE)


@pytest.mark.parametrize(("kind", "parents"), TREE.items())
def test_error_is_caught_as_its_parent_and_as_its_builtin(kind: type[Exception], parents: tuple[type[Exception], ...]) -> None:
    for parent in parents:
        assert issubclass(kind, parent)


@pytest.mark.parametrize("kind", TREE)
def test_error_shows_its_message_as_written(kind: type[Exception]) -> None:
    assert str(kind("content_id 'x' is not in the catalogue")) == "content_id 'x' is not in the catalogue"


def test_only_stage_errors_may_degrade() -> None:
    assert {kind for kind in TREE if issubclass(kind, errors.StageError)} == {errors.StageError, errors.StoreError}

"""What every ranker promises. Implementers are found by reflection, so a new one is tested unasked."""

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest
import torch
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import example_world as world
import recray.ranking
from recray.errors import DataError, ModelError
from recray.features.vectorize import RankerInput
from recray.ranking.ndcg import mean_ndcg
from recray.ranking.ranker import Examples, Ranker
from recray.schema import NO_ITEM, Objective
from recray.settings import resolve

SETTINGS = resolve({"deep": {"hidden": [64, 32], "embedding_dim": 16, "dropout": 0.1}, "boosted": {"n_trees": 60}})


def _implementers() -> list[type[Any]]:
    modules = (importlib.import_module(f"recray.ranking.{m.name}") for m in pkgutil.iter_modules(recray.ranking.__path__))
    classes = {c for m in modules for _, c in inspect.getmembers(m, inspect.isclass) if c.__module__ == m.__name__}
    found = [
        c for c in classes if c is not Ranker and all(hasattr(c, part) for part in ("predict", "files", "restore", "name"))
    ]
    return sorted(found, key=lambda c: c.name)


def _fit(cls: type[Any], train: Examples, validation: Examples) -> Any:
    fit = importlib.import_module(cls.__module__).fit
    known = {"seed": 3, "device": "cpu", "report": lambda figures: None}
    given = {name: known[name] for name in known if name in inspect.signature(fit).parameters}
    return fit(train, validation, world.items(), getattr(SETTINGS, cls.name), **given)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    xgboost.set_config(nthread=1)


@pytest.fixture(scope="module", params=_implementers(), ids=lambda cls: cls.name)
def cls(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def ranker(cls: type[Any]) -> Any:
    return _fit(cls, world.examples(900, 1), world.examples(200, 2))


def _part(inputs: RankerInput, rows: Any, n_candidates: int | None = None) -> RankerInput:
    cut = slice(n_candidates)
    return RankerInput(inputs.user[rows], inputs.match[rows, cut], inputs.items[rows, cut], inputs.history[rows])


def test_both_rankers_are_found() -> None:
    assert [cls.name for cls in _implementers()] == ["boosted", "deep"]


def test_probabilities_lie_between_zero_and_one_and_padding_is_zero(ranker: Any) -> None:
    inputs = world.examples(50, 4).inputs
    p = ranker.predict(inputs)
    assert p.shape == (*inputs.items.shape, len(Objective))
    assert p.dtype == np.float32
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(p[inputs.items == NO_ITEM] == 0)
    assert np.all(p[inputs.items != NO_ITEM][:, Objective.START] > 0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 9), width=st.integers(1, 24), seed=st.integers(0, 1_000))
def test_batch_gives_bit_for_bit_what_its_requests_give_one_by_one(ranker: Any, n: int, width: int, seed: int) -> None:
    inputs = _part(world.examples(n, seed).inputs, slice(None), width)
    together = ranker.predict(inputs)
    alone = [ranker.predict(_part(inputs, slice(row, row + 1))) for row in range(n)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_padding_changes_nothing(ranker: Any) -> None:
    inputs = world.examples(3, 9).inputs
    wide = RankerInput(
        inputs.user,
        np.pad(inputs.match, ((0, 0), (0, 300), (0, 0))),
        np.pad(inputs.items, ((0, 0), (0, 300)), constant_values=NO_ITEM),
        np.pad(inputs.history, ((0, 0), (0, 40)), constant_values=NO_ITEM),
    )
    np.testing.assert_array_equal(ranker.predict(wide)[:, :24], ranker.predict(inputs))


def test_requests_without_candidates_or_history_are_answered(ranker: Any) -> None:
    inputs = world.examples(2, 5).inputs
    inputs.history[:] = NO_ITEM
    inputs.items[0] = NO_ITEM
    p = ranker.predict(inputs)
    assert np.all(p[0] == 0)
    assert np.all(np.isfinite(p))
    assert ranker.predict(_part(inputs, slice(0, 0))).shape == (0, 24, len(Objective))
    assert ranker.predict(_part(inputs, slice(None), 0)).shape == (2, 0, len(Objective))


def test_files_restore_the_same_predictions_bit_for_bit(ranker: Any, cls: type[Any]) -> None:
    inputs = world.examples(20, 6).inputs
    files = ranker.files()
    assert {name.rpartition(".")[2] for name in files} <= {"safetensors", "ubj", "json"}
    restored = cls.restore(files, world.items())
    np.testing.assert_array_equal(restored.predict(inputs), ranker.predict(inputs))
    assert restored.files() == files


def test_planted_signal_is_learnt(ranker: Any) -> None:
    unseen = world.examples(300, 7)
    started = unseen.labels[:, :, Objective.START]
    best_source = max(mean_ndcg(unseen.inputs.match[:, :, c], started) for c in range(unseen.inputs.match.shape[2]))
    chance = mean_ndcg(np.random.default_rng(0).random(started.shape, np.float32), started)
    found = mean_ndcg(ranker.predict(unseen.inputs)[:, :, Objective.START], started)
    assert found > best_source + 0.1
    assert found > chance + 0.3


def test_mean_probability_is_near_the_rate_of_what_happened(ranker: Any) -> None:
    unseen = world.examples(300, 8)
    p = ranker.predict(unseen.inputs)
    for objective in Objective:
        known = np.isfinite(unseen.labels[:, :, objective])
        assert abs(p[known][:, objective].mean() - unseen.labels[known][:, objective].mean()) < 0.06, objective.name


def test_of_what_was_never_observed_nothing_is_expected(cls: type[Any]) -> None:
    train, validation = world.examples(60, 1), world.examples(30, 2)
    train.labels[:, :, Objective.WATCH_TIME] = np.nan
    p = _fit(cls, train, validation).predict(validation.inputs)
    assert np.all(p[:, :, Objective.WATCH_TIME] < 1e-6)
    assert np.any(p[:, :, Objective.DISLIKE] > 1e-3)


def test_titles_newer_than_the_fit_are_ranked(ranker: Any, cls: type[Any]) -> None:
    grown = cls.restore(ranker.files(), world.items(world.N_TITLES + 30))
    inputs = world.examples(4, 3, n_titles=world.N_TITLES + 30).inputs
    inputs.history[:, 0] = world.N_TITLES + 29
    p = grown.predict(inputs)
    new = inputs.items >= world.N_TITLES
    assert new.any()
    assert np.all((p[new][:, Objective.START] > 0) & (p[new][:, Objective.START] < 1))


def test_same_seed_gives_the_same_files(cls: type[Any]) -> None:
    train, validation = world.examples(120, 1), world.examples(60, 2)
    assert _fit(cls, train, validation).files() == _fit(cls, train, validation).files()


def test_damaged_files_are_refused(ranker: Any, cls: type[Any]) -> None:
    files = ranker.files()
    for name, content in files.items():
        for damaged in (content[: len(content) // 2], content[:-1], b""):
            with pytest.raises(ModelError):
                cls.restore(files | {name: damaged}, world.items())
        with pytest.raises(ModelError):
            cls.restore({other: kept for other, kept in files.items() if other != name}, world.items())


def test_examples_without_any_start_are_refused(cls: type[Any]) -> None:
    train, validation = world.examples(20, 1), world.examples(10, 2)
    train.labels[:, :, Objective.START] *= 0
    with pytest.raises(DataError, match=r"none of 20 training requests has a started candidate"):
        _fit(cls, train, validation)

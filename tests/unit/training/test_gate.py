"""By what lists are to be ordered, and what a bundle is held to before it is promoted, by whether it displaces another."""

import numpy as np

from recray.settings import Settings, resolve
from recray.training.judge import Judged
from recray.training.run import gate, order_of


def judged(mean: float, seed: int) -> Judged:
    ndcg = np.random.default_rng(seed).normal(mean, 0.05, 300)
    return Judged(np.empty((300, 0), np.int32), ndcg, {"ndcg@10": mean})


def test_the_first_bundle_has_to_beat_popularity_alone_and_a_later_one_holds_up_to_the_best_source() -> None:
    models = {"popular": judged(0.1, 0), "content": judged(0.9, 1), "deep": judged(0.2, 2), "boosted": judged(0.0, 3)}
    assert gate(models, "deep", None, Settings()).passed
    assert not gate(models, "boosted", None, Settings()).passed
    later = gate(models, "deep", judged(0.2, 4), Settings())
    assert not later.passed
    assert any(reason.startswith("perhaps worse than content") for reason in later.reasons)
    assert gate(models | {"content": judged(0.15, 1)}, "deep", judged(0.15, 4), Settings()).passed


def test_lists_are_ordered_by_the_best_ranker_that_pays() -> None:
    models = {"popular": judged(0.1, 0), "content": judged(0.2, 1), "deep": judged(0.25, 2), "boosted": judged(0.1, 3)}
    found = order_of(models, Settings())
    assert (found.chosen, found.paying) == ("deep", ["deep"])


def test_where_none_pays_lists_are_in_the_order_of_the_best_source_unless_rankers_need_not_pay() -> None:
    models = {"popular": judged(0.1, 0), "content": judged(0.2, 1), "deep": judged(0.15, 2), "boosted": judged(0.1, 3)}
    found = order_of(models, Settings())
    assert (found.chosen, found.paying) == ("by-content", [])
    anyway = order_of(models, resolve({"evaluation": {"rankers_must_pay": False}}))
    assert (anyway.chosen, anyway.paying, anyway.reasons) == ("deep", ["deep", "boosted"], found.reasons)


def test_a_sources_order_passes_the_gate_as_any_pipeline_does() -> None:
    models = {"popular": judged(0.1, 0), "content": judged(0.2, 1), "by-content": judged(0.195, 1), "deep": judged(0.1, 2)}
    assert gate(models, "by-content", None, Settings()).passed
    later = gate(models, "by-content", judged(0.17, 4), Settings())
    assert later.passed
    assert set(later.lifts) == {"popular", "content", "champion"}

"""What a bundle is held to before it is promoted, by whether it displaces another."""

import numpy as np

from recray.settings import Settings
from recray.training.judge import Judged
from recray.training.run import gate


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

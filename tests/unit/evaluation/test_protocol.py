"""Protocols: which rows become targets, what they may know, and the published counts on MovieLens-1M."""

import io
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.errors import DataError
from recray.evaluation import metrics, protocol
from recray.features.interactions import Interactions


def interactions_of(profile, item, at_s, rating=None) -> Interactions:
    n = len(profile)
    profile, item = np.asarray(profile, np.int32), np.asarray(item, np.int32)
    missing = np.full(n, np.nan, np.float32)
    stars = missing if rating is None else np.asarray(rating, np.float32)
    sizes = int(profile.max()) + 1, int(item.max()) + 1
    return Interactions(profile, item, np.asarray(at_s, np.int64), np.ones(n, np.float32), stars, missing, profile, *sizes)


@pytest.fixture
def history() -> Interactions:
    return interactions_of([0, 0, 0, 1, 2, 2], [4, 1, 2, 3, 5, 0], [10, 20, 20, 5, 20, 30], [1, np.nan, 3, 4, 5, 2])


@pytest.fixture
def crowd() -> Interactions:
    rng = np.random.default_rng(1)
    profile = np.repeat(np.arange(30), rng.integers(1, 60, 30))
    at_s = np.concatenate([np.sort(rng.integers(0, 1000, n)) for n in np.bincount(profile)])
    return interactions_of(profile, rng.integers(0, 50, profile.size), at_s, rng.integers(1, 6, profile.size))


def test_leave_one_out_takes_the_last_row_of_equal_times_in_file_order(history):
    targets = protocol.leave_one_out(history)
    assert (targets.profile.tolist(), targets.row.tolist()) == ([0, 2], [2, 5])
    assert (targets.item.tolist(), targets.at_s.tolist()) == ([2, 0], [20, 30])


def test_leave_one_out_one_back_takes_the_row_before_it(history):
    assert protocol.leave_one_out(history, back=1).row.tolist() == [1]


def test_training_rows_are_those_before_the_first_target_of_their_profile(history):
    targets = protocol.leave_one_out(history, back=1)
    assert protocol.before(history, targets).tolist() == [True, False, False, True, True, True]


def test_seen_is_the_whole_history_and_nothing_of_the_target_or_of_others(history):
    mask = protocol.seen(history, protocol.leave_one_out(history))
    assert [np.flatnonzero(line).tolist() for line in mask] == [[1, 4], [5]]


def test_the_catalogue_holds_titles_with_an_interaction(history):
    assert np.flatnonzero(protocol.catalogue(history.where(history.at_s < 20))).tolist() == [3, 4]


def test_successive_takes_every_row_after_the_boundary_that_has_a_history(history):
    rng = np.random.default_rng(0)
    assert protocol.successive(history, 10, None, rng).row.tolist() == [1, 2, 5]
    assert protocol.successive(history, 20, None, rng).row.tolist() == [5]
    assert protocol.successive(history, 4, None, rng, until_s=20, min_history=0).row.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n_requests", [1, 25, 100, 300])
def test_successive_draws_exactly_what_was_asked_evenly_over_profiles(crowd, n_requests):
    full = protocol.successive(crowd, 300, None, np.random.default_rng(0))
    drawn = protocol.successive(crowd, 300, n_requests, np.random.default_rng(7))
    assert len(drawn) == n_requests < len(full)
    assert set(drawn.row) <= set(full.row)
    assert len(set(drawn.row)) == n_requests
    available, taken = (np.bincount(targets.profile, minlength=30) for targets in (full, drawn))
    cap = next(c for c in range(1, 99) if np.minimum(available, c).sum() >= n_requests)
    assert np.all(taken <= np.minimum(available, cap))


def test_successive_is_the_same_for_the_same_seed(crowd):
    first, second, other = (protocol.successive(crowd, 300, 50, np.random.default_rng(seed)).row for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_rows_kept_of_one_profile_are_spread_evenly():
    one = interactions_of(np.zeros(101), np.zeros(101), np.arange(101))
    rows = protocol.successive(one, 0, 10, np.random.default_rng(0)).row
    assert np.diff(rows).tolist() == [10] * 9


def test_the_rating_split_draws_rated_rows_and_trains_on_all_others(crowd, history):
    targets = protocol.rating_split(crowd, np.random.default_rng(3))
    assert len(targets) == round(0.1 * len(crowd))
    assert protocol.others(crowd, targets).sum() == len(crowd) - len(targets)
    assert not protocol.others(crowd, targets)[targets.row].any()
    assert 1 not in protocol.rating_split(history, np.random.default_rng(3), share=1.0).row


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rank_equals_the_place_in_a_stable_sort(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, 9)).astype(np.float32)
    excluded = rng.random((5, 9)) < 0.3
    target = rng.integers(0, 9, 5)
    ranks = protocol.rank_of(scores, target, excluded)
    for row in range(5):
        order = [item for item in np.argsort(-scores[row], kind="stable") if not excluded[row, item]]
        assert ranks[row] == (order.index(target[row]) + 1 if target[row] in order else 10)


def test_an_unscored_target_ranks_behind_everything_and_an_unscored_rival_nowhere():
    scores = np.array([[np.nan, 1, 0], [np.nan, 1, 0], [-np.inf, 1, 0]], np.float32)
    assert protocol.rank_of(scores, np.array([0, 2, 0])).tolist() == [4, 2, 4]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=re.escape("scores (2, 3), targets (1,), excluded None; expected [n, n_items]")):
        protocol.rank_of(np.zeros((2, 3), np.float32), np.array([0]))


def test_the_summary_equals_the_metrics_of_the_ranked_lists():
    rng = np.random.default_rng(4)
    ranked = np.stack([rng.permutation(40) for _ in range(60)]).astype(np.int32)
    target = rng.integers(0, 40, 60)
    ranks = np.argmax(ranked == target[:, None], axis=1) + 1
    found = protocol.summary(ranks, [5, 20])
    for k in (5, 20):
        assert found[f"hr@{k}"] == pytest.approx(metrics.hit_rate_at(ranked, target, k).mean())
        assert found[f"ndcg@{k}"] == pytest.approx(metrics.ndcg_at(ranked, target, k).mean())
        assert found[f"mrr@{k}"] == pytest.approx(metrics.mrr_at(ranked, target, k).mean())


def test_movielens_1m_gives_the_published_counts(data_dir):
    """3,706 rated titles and 6,040 targets; after 5-core filtering 1,209 viewers act after the 0.9 quantile of time."""
    archive = data_dir / "ml-1m.zip"
    if not archive.exists():
        pytest.skip("ml-1m.zip is not at hand")
    raw = zipfile.ZipFile(archive).read("ml-1m/ratings.dat").replace(b"::", b",")
    ratings = pd.read_csv(io.BytesIO(raw), header=None, names=["user", "title", "stars", "at_s"])
    whole = from_frame(ratings)
    assert len(protocol.leave_one_out(whole)) == 6_040
    assert protocol.catalogue(whole).sum() == 3_706
    core = ratings[ratings.groupby("title").user.transform("size") >= 5]
    assert len(core) == 999_611
    boundary_s = int(np.quantile(core.at_s, 0.9))
    targets = protocol.successive(from_frame(core), boundary_s, None, np.random.default_rng(0))
    assert len(np.unique(targets.profile)) == 1_209


def from_frame(ratings: pd.DataFrame) -> Interactions:
    ratings = ratings.sort_values(["user", "at_s"], kind="stable")
    return interactions_of(pd.factorize(ratings.user)[0], pd.factorize(ratings.title)[0], ratings.at_s, ratings.stars)

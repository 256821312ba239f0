"""Interleaving: a fair draft, honest credit, and no preference between equals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.experiments import interleave

titles = st.lists(st.integers(0, 20), unique=True, max_size=12)


@settings(max_examples=40, deadline=None)
@given(a=titles, b=titles, k=st.integers(1, 15), seed=st.integers(0, 1_000))
def test_a_draft_keeps_each_teams_order_repeats_nothing_and_loses_nothing(a, b, k, seed):
    drafted = interleave.team_draft(np.array(a, np.int32), np.array([*b, -1], np.int32), k, np.random.default_rng(seed))
    items = drafted.items.tolist()
    assert len(items) == len(set(items)) == min(k, len(set(a) | set(b)))
    for team, ranking in ((interleave.TEAM_A, a), (interleave.TEAM_B, b)):
        picked = [item for item, of in zip(items, drafted.team, strict=True) if of == team]
        assert picked == sorted(picked, key=ranking.index)


@settings(max_examples=40, deadline=None)
@given(a=st.permutations(range(10)), b=st.permutations(range(10)), k=st.integers(1, 10), seed=st.integers(0, 1_000))
def test_team_sizes_differ_by_at_most_one(a, b, k, seed):
    team = interleave.team_draft(np.array(a), np.array(b), k, np.random.default_rng(seed)).team
    assert abs(int(team.sum()) * 2 - len(team)) <= 1


def test_each_team_leads_half_the_lists():
    rng = np.random.default_rng(1)
    leads = [interleave.team_draft(np.arange(5), np.arange(5, 10), 5, rng).team[0] for _ in range(4_000)]
    assert np.mean(leads) == pytest.approx(0.5, abs=0.03)


def simulate(a, b, relevance, seed, n=1_500):
    rng, credits = np.random.default_rng(seed), []
    examined = 0.8 ** np.arange(6)
    for _ in range(n):
        drafted = interleave.team_draft(a, b, 6, rng)
        clicked = rng.random(6) < examined[: len(drafted.items)] * relevance[drafted.items]
        credits.append(interleave.credit(drafted.team, clicked))
    return interleave.preference(np.array(credits))


def test_equally_good_rankings_are_preferred_equally_and_seldom_told_apart():
    relevance = np.full(12, 0.3)
    found = [simulate(np.arange(6), np.arange(6, 12), relevance, seed, n=100)[1] < 0.05 for seed in range(60)]
    assert np.mean(found) <= 0.12
    interval, _ = simulate(np.arange(6), np.arange(6, 12), relevance, 0)
    assert not interval.excludes(0.5)


def test_identical_rankings_win_half_however_the_clicks_fall():
    relevance = np.linspace(0.9, 0.05, 6)
    interval, _ = simulate(np.arange(6), np.arange(6), relevance, 2)
    assert interval.estimate == pytest.approx(0.5, abs=0.04)


def test_the_ranking_with_the_better_titles_first_wins_from_either_side():
    relevance, good = np.linspace(0.6, 0.0, 12), np.arange(12)
    for a, b, sign in ((good, good[::-1], 1), (good[::-1], good, -1)):
        interval, p_value = simulate(a, b, relevance, 3)
        assert p_value < 1e-6
        assert sign * (interval.estimate - 0.5) > 0.1


def test_credit_is_shared_and_zero_without_engagement():
    team = np.array([0, 1, 1, 0], np.uint8)
    assert interleave.credit(team, np.array([True, True, True, False])) == pytest.approx(-1 / 3)
    assert interleave.credit(team, np.zeros(4, bool)) == 0.0


def test_without_a_decided_request_there_is_no_preference():
    interval, p_value = interleave.preference(np.zeros(4))
    assert (interval.estimate, interval.low, interval.high, p_value) == (0.5, 0.0, 1.0, 1.0)

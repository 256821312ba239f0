import re

import numpy as np
import pytest

from recray.errors import ConfigError, DataError
from recray.evaluation import cold
from recray.evaluation.protocol import seen
from recray.features.interactions import Interactions
from worlds import rated


def plays(n_profiles: int = 300, n_items: int = 60, length: int = 20) -> Interactions:
    """Profiles that watch distinct titles at random, low numbers more often, and rate them by number."""
    draws = np.random.default_rng(4)
    chance = 1 / (10 + np.arange(n_items))
    rows = [
        (profile, int(title), float(1 + title % 5))
        for profile in range(n_profiles)
        for title in draws.choice(n_items, length, replace=False, p=chance / chance.sum())
    ]
    return rated(rows, n_profiles, n_items)


def test_nothing_is_learnt_from_new_profiles_and_each_is_asked_after_so_many_events() -> None:
    track = cold.make("N", plays())
    away = np.unique(track.targets.profile)
    assert 10 < away.size < 60
    assert not np.isin(track.plays.profile[track.learnt | track.validation], away).any()
    history = seen(track.plays, track.targets).sum(axis=1)
    for n in cold.EVENTS:
        assert set(history[track.groups[f"{n} events"]]) == {n}
    assert sum(mask.sum() for mask in track.groups.values()) == len(track.targets) == away.size * len(cold.EVENTS)


def test_validation_is_the_last_of_each_known_profile_and_not_learnt() -> None:
    for name in cold.PROTOCOLS:
        track = cold.make(name, plays())
        assert not (track.learnt & track.validation).any()
        assert not track.learnt[track.targets.row].any()
        assert np.unique(track.plays.profile[track.validation]).size == track.validation.sum()


def test_a_new_profile_picks_what_it_rates_best_of_what_is_watched_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "N_OFFERED", 12)
    there = plays()
    track = cold.make("P", there)
    watches = np.bincount(there.item[~np.isin(there.profile, track.targets.profile)], minlength=60)
    offered = set(np.argsort(-watches, kind="stable")[:12].tolist())
    picked = seen(track.plays, track.targets)
    for row, profile in enumerate(track.targets.profile):
        own = there.item[there.profile == profile]
        assert track.targets.item[row] == own[-1]
        able = [title for title in own[:-1].tolist() if title in offered]
        best = sorted(able, key=lambda title: -(title % 5))[: cold.N_PICKS]
        assert set(np.flatnonzero(picked[row]).tolist()) == set(best)
        assert track.groups[f"{len(best)} picks"][row]


def test_new_titles_keep_their_first_plays_and_are_asked_for_in_others() -> None:
    track = cold.make("T", plays())
    learnt = np.bincount(track.plays.item[track.learnt | track.validation], minlength=60)
    for n in cold.PLAYS:
        new = np.unique(track.targets.item[track.groups[f"{n} plays"]])
        assert new.size
        assert set(learnt[new].tolist()) == {n}
        for title in new:
            kept = track.plays.at_s[(track.learnt | track.validation) & (track.plays.item == title)]
            asked = track.targets.at_s[track.targets.item == title]
            assert kept.max(initial=-1) < asked.min()


def test_ratings_are_kept_from_models() -> None:
    for name in cold.PROTOCOLS:
        assert np.isnan(cold.make(name, plays()).plays.rating).all()


def test_a_track_of_another_name_and_a_set_too_small_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("track is 'B'; expected one of N, P, T to ask for what is new")):
        cold.make("B", plays())
    with pytest.raises(DataError, match=r"track T leaves .* requests of 6 interactions"):
        cold.make("T", plays(n_profiles=2, n_items=4, length=3))

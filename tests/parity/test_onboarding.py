"""What a new viewer would tell, and the same requests with it and without."""

import dataclasses
from itertools import product

import numpy as np
import pytest

from bundle_world import BundleWorld
from recray.data.states import words_in
from recray.errors import DataError
from recray.features import fold
from recray.features.profiles import columns
from recray.schema import Action, ProfileKey, ProfileSettings, Words
from recray.stores.lake import Lake
from recray.training import onboarding
from recray.training.onboarding import Told
from recray.training.stored import Stored
from worlds import make_world

CAME_S = 1_700_000_000
NONE = np.empty(0, np.uint64)
ANN, BOB = ProfileKey("ann", "main"), ProfileKey("bob", "main")


def rated(*watched: tuple[int, float]) -> Words:
    """Titles (number, stars), rated a minute apart."""
    n = len(watched)
    value = np.array([fold.packed_value(Action.RATE, stars, None) for _, stars in watched])
    zeros = np.zeros(n, np.int32)
    return fold.pack(CAME_S + 60 * np.arange(n), np.array([title for title, _ in watched]), zeros + Action.RATE, zeros, value)


def test_every_other_title_of_those_who_came_later_is_what_they_tell_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onboarding, "N_WATCHED", 4)
    own = rated((8, 3.0), (3, 5.0), (8, 1.0), (1, 4.0), (5, 2.0), (9, 1.0))
    [found] = onboarding.new_viewers({ANN: own[::-1], BOB: own[:4]}, CAME_S)
    assert (found.key, found.came_s) == (ANN, CAME_S)
    assert found.tells_from.tolist() == [8, 1, 9]
    assert found.stars.tolist() == [3, 4, 1]
    assert found.relevant.tolist() == [3, 5]
    assert onboarding.new_viewers({ANN: own}, CAME_S + 1) == []


def test_a_request_after_so_many_titles_knows_those_and_asks_for_the_next() -> None:
    own = rated((8, 3.0), (3, 5.0), (8, 1.0), (1, 4.0), (5, 2.0))
    together = fold.pack(
        np.full(2, CAME_S + 500), np.array([6, 7]), np.full(2, Action.PLAY), np.zeros(2, int), np.zeros(2, int)
    )
    viewer = onboarding.NewViewer(ANN, CAME_S, *[np.empty(0)] * 3, np.concatenate((own, together)))
    first, later, last = (onboarding.after(viewer, n) for n in (0, 2, 5))
    assert [moment.targets.tolist() for moment in (first, later, last)] == [[8], [1], [7]]
    states = [fold.decode(moment.state) for moment in (first, later, last)]
    assert [fold.items(state.recent).tolist() for state in states] == [[], [8, 3, 8], [8, 3, 8, 1, 5, 6]]
    assert (first.at_s, later.at_s, last.at_s) == (CAME_S, CAME_S + 180, CAME_S + 501)


def test_what_is_told_is_what_was_rated_best_of_the_most_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onboarding, "N_OFFERED", 20)
    items = make_world().items  # circles of twelve titles are its genres
    items.plays[:, 2] = np.where(np.arange(items.n) < 20, 100 - np.arange(items.n), 1)
    tells_from = np.array([0, 1, 2, 13, 25, 26, items.n], np.int32)
    stars = np.array([3, 5, np.nan, 4, 5, 5, 5], np.float32)
    told = onboarding.told_by(onboarding.NewViewer(ANN, CAME_S, tells_from, stars, tells_from, NONE), items)
    assert told.titles == (1, 13, 0)
    assert told.genres == ("Circle 2",), "half are of circle 0, but everybody watches more of that"


def test_a_request_knows_what_was_told_and_lists_nothing_that_was_told_from() -> None:
    viewer = onboarding.NewViewer(ANN, CAME_S, np.array([8, 1, 9]), np.full(3, np.nan), np.array([3, 5]), NONE)
    moment = onboarding.as_told(viewer, Told(("Circle 2",), (1, 9)))
    profile = columns([fold.decode(moment.state)], [ProfileSettings()])
    assert profile.history[0, :3].tolist() == [1, 9, -1]
    assert sorted(profile.watched(0).tolist()) == [1, 8, 9]
    assert profile.at_s.max() < moment.at_s == CAME_S
    assert moment.targets.tolist() == [3, 5]


@pytest.fixture(scope="module")
def words(world: BundleWorld) -> dict[ProfileKey, Words]:
    return words_in(Lake(world.settings.lake_dir), "world")


def learnt_before(world: BundleWorld, moment_s: int) -> Stored:
    facts = {"data": {"learnt_before_s": moment_s}}
    return Stored(dataclasses.replace(world.bundle, manifest=world.bundle.manifest | facts), world.history)


def test_ways_of_asking_are_judged_on_the_same_viewers(
    world: BundleWorld, words: dict[ProfileKey, Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onboarding, "N_WATCHED", 4)
    monkeypatch.setattr(onboarding, "EVENTS", (0, 1))
    some = dict(list(words.items())[:60])
    found = onboarding.measured(learnt_before(world, 0), some, world.settings, lambda line: None)
    assert 20 < found["with_titles"] <= found["viewers"] <= len(some)
    assert found["with_genres"] > 20
    assert list(found["watched"]) == ["0", "1"]
    assert found["watched"]["0"]["ease"][found["metric"]] == 0 < found["watched"]["1"]["ease"][found["metric"]]
    assert list(found["ways"]) == list(onboarding.WAYS)
    metric, plain = found["metric"], found["ways"]["nothing"]

    def ndcg(way: str, name: str, when: str = "ever") -> float:
        figure: float = found["ways"][way][name][when][metric]
        return figure

    assert ndcg("nothing", "ease") == ndcg("nothing", "content") == ndcg("genres", "ease") == 0
    assert ndcg("titles", "ease") > 0
    assert ndcg("genres", "content") > 0
    assert ndcg("nothing", "popular", "soon") != ndcg("nothing", "popular")
    of_told = {way: by["deep"]["of_told_genres@10"] for way, by in found["ways"].items()}
    assert 0 < of_told["nothing"] < of_told["genres"] <= 1
    assert plain["deep"]["ever"]["difference"]["estimate"] == plain["popular"]["ever"]["against_popular"]["estimate"] == 0
    for way, when in product(onboarding.WAYS, ("soon", "ever")):
        for name, one in found["ways"][way].items():
            for rival, gain in ((name, one[when]["difference"]), ("popular", one[when]["against_popular"])):
                assert gain["estimate"] == pytest.approx(ndcg(way, name, when) - ndcg("nothing", rival, when), abs=1e-5)
                assert gain["low"] <= gain["estimate"] <= gain["high"]


def test_where_nobody_is_new_nothing_is_measured(world: BundleWorld, words: dict[ProfileKey, Words]) -> None:
    with pytest.raises(DataError, match="nobody who came to 'world' after"):
        onboarding.measured(learnt_before(world, 4_000_000_000), words, world.settings, lambda line: None)

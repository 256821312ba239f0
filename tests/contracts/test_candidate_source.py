"""What every candidate source promises, asked of each class that is registered."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from recray.candidates.registered import fit_all, source_classes
from recray.candidates.source import Ask, CandidateSource
from recray.features.views import SOURCES
from recray.schema import NO_ITEM, Page, ProfileSettings, Retrieved
from recray.settings import Settings, resolve
from worlds import World, ask_for, make_world, profiles_of

PERSONAL = ("cowatch", "item_based", "ease", "neighbours", "factors", "content", "sequence")
NOT_FROM_HISTORY = ("popular", "trending", "new_releases")
SETTINGS = resolve({
    "sources": {"factors": 12, "als_iterations": 5, "n_reference_profiles": 150, "n_neighbours": 20, "ease_regularization": 20},
    "sequence": {"dim": 16, "epochs": 20, "max_length": 12, "batch_size": 16, "patience": 20, "learning_rate": 0.01},
})  # fmt: skip


def fit_world(world: World, settings: Settings = SETTINGS, only: list[str] | None = None) -> dict[str, CandidateSource]:
    torch.set_num_threads(1)  # a model this small only waits for the second thread
    about = (world.interactions, world.items, settings)
    return fit_all(*about, seed=3, device="cpu", report=lambda *figures: None, validation=world.validation, only=only)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def fitted(world: World) -> dict[str, CandidateSource]:
    return fit_world(world)


def alone(ask: Ask, row: int) -> Ask:
    at = np.array([row])
    return Ask(ask.requests.take(at), ask.profiles.take(at), ask.items, ask.eligible[at], ask.resumable[at])


def assert_same(left: Retrieved, right: Retrieved) -> None:
    width = max(left.items.shape[1], right.items.shape[1])
    for one, other, absent in (
        (left.items, right.items, NO_ITEM),
        (left.scores, right.scores, -np.inf),
        (left.seeds, right.seeds, NO_ITEM),
    ):
        assert one.dtype == other.dtype
        padded = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=absent) for a in (one, other)]
        np.testing.assert_array_equal(*padded)


def hit_rate(source: CandidateSource, world: World) -> float:
    got = source.retrieve(world.ask(range(60)), 8)
    return float((got.items == world.following[:60, None]).any(axis=1).mean())


def test_every_declared_source_is_registered_under_its_own_name() -> None:
    assert tuple(source_classes()) == SOURCES
    assert all(kind.name == name for name, kind in source_classes().items())


@pytest.mark.parametrize("name", SOURCES)
class TestCandidateSource:
    def test_restored_source_retrieves_bit_for_bit(self, name: str, world: World, fitted: dict[str, CandidateSource]) -> None:
        source = fitted[name]
        tensors = load(save({key: np.ascontiguousarray(value) for key, value in source.tensors().items()}))
        restored = source_classes()[name].restore(tensors, source.config(), world.items)
        ask = world.ask(range(20))
        assert_same(source.retrieve(ask, 15), restored.retrieve(ask, 15))

    @pytest.mark.parametrize("page", [Page.HOMEPAGE, Page.POST_WATCH])
    def test_batch_gives_what_single_requests_give(
        self, name: str, page: Page, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        histories = [*world.histories[:12], [], [5]]
        seeds = np.full(len(histories), NO_ITEM, np.int32)
        if page == Page.POST_WATCH:
            seeds[:] = np.arange(len(histories))
        ask = ask_for(world.items, histories, page, seed_item=seeds)
        batch = fitted[name].retrieve(ask, 15)
        for row in range(len(histories)):
            part = slice(row, row + 1)
            expected = Retrieved(batch.items[part], batch.scores[part], batch.seeds[part])
            assert_same(expected, fitted[name].retrieve(alone(ask, row), 15))

    def test_only_eligible_titles_best_first_once_each(
        self, name: str, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        ask = world.ask(range(30))
        # Eligible titles are half of the catalogue at random; what may be resumed is another half.
        rng = np.random.default_rng(0)
        ask.eligible &= rng.random(ask.eligible.shape) < 0.5
        ask.resumable &= rng.random(ask.resumable.shape) < 0.5
        got = fitted[name].retrieve(ask, 20)
        allowed = ask.resumable if name == "resume" else ask.eligible
        assert (got.items >= 0).any()
        assert got.items.dtype == got.seeds.dtype == np.int32
        assert got.scores.dtype == np.float32
        for row in range(30):
            n = np.count_nonzero(got.items[row] >= 0)
            items, scores = got.items[row, :n], got.scores[row, :n]
            assert (got.items[row, n:] == NO_ITEM).all()
            assert allowed[row, items].all()
            assert np.unique(items).size == n
            assert np.isfinite(scores).all()
            steps = np.diff(scores)
            assert (steps <= 0).all()
            assert (np.diff(items)[steps == 0] > 0).all()
            seeds = got.seeds[row, :n]
            assert np.isin(seeds[seeds >= 0], world.histories[row]).all()

    def test_quota_beyond_the_catalogue_proposes_each_title_at_most_once(
        self, name: str, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        ask = world.ask(range(5))
        many = fitted[name].retrieve(ask, 10 * world.items.n)
        few = fitted[name].retrieve(ask, 3)
        assert many.items.shape[1] <= world.items.n
        width = few.items.shape[1]
        assert width <= 3
        np.testing.assert_array_equal(many.items[:, :width], few.items)

    def test_empty_history_gets_nothing_unless_the_source_needs_none(
        self, name: str, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        got = fitted[name].retrieve(ask_for(world.items, [[], []]), 10)
        assert got.items.shape[0] == 2
        assert (got.items >= 0).any() == (name in NOT_FROM_HISTORY)

    def test_titles_beyond_the_catalogue_count_as_not_watched(
        self, name: str, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        beyond = [world.items.n, world.items.n + 1000, 1_000_000]
        got = fitted[name].retrieve(ask_for(world.items, [beyond]), 10)
        assert (got.items >= 0).any() == (name in NOT_FROM_HISTORY)
        mixed = fitted[name].retrieve(ask_for(world.items, [[*world.histories[0], *beyond]]), 10)
        assert (mixed.items < world.items.n).all()
        if name != "resume":
            assert (mixed.items >= 0).any()

    def test_catalogue_that_grew_since_the_fit_is_served(
        self, name: str, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        grown = make_world(n_circles=8).items
        got = fitted[name].retrieve(ask_for(grown, [world.histories[0]]), grown.n)
        assert (got.items < grown.n).all()
        assert (got.items >= 0).any()

    def test_second_fit_with_the_same_seed_is_the_same(
        self, name: str, world: World, fitted: dict[str, CandidateSource]
    ) -> None:
        short = SETTINGS.model_copy(update={"sequence": SETTINGS.sequence.model_copy(update={"epochs": 2})})
        made = []
        for elsewhere in range(2):
            torch.manual_seed(elsewhere)  # what others do with the global generator is of no concern
            made.append(fit_world(world, short, [name])[name].tensors())
        first, second = made
        assert first.keys() == second.keys()
        for key, value in first.items():
            np.testing.assert_array_equal(value, second[key])


@pytest.mark.parametrize("name", PERSONAL)
def test_personal_source_finds_what_comes_next_more_often_than_popularity(
    name: str, world: World, fitted: dict[str, CandidateSource]
) -> None:
    popular = hit_rate(fitted["popular"], world)
    assert popular < 0.5
    assert hit_rate(fitted[name], world) > popular + 0.3


def test_history_decides_what_personal_sources_propose(world: World, fitted: dict[str, CandidateSource]) -> None:
    for name in PERSONAL:
        got = fitted[name].retrieve(world.ask([0, 1]), 8)
        assert (got.items[0] != got.items[1]).any(), name


def test_picked_genres_are_a_new_viewer_s_taste_until_there_is_a_history(
    world: World, fitted: dict[str, CandidateSource]
) -> None:
    long = [title for title in world.histories[0] if world.circle[title] == 0] * 4
    ask = ask_for(world.items, [[], [], long])
    ask.profiles = profiles_of([[], [], long], ProfileSettings(genres=("circle 2", "unheard of")))
    ask.profiles.settings = [ask.profiles.settings[0], ProfileSettings(), ask.profiles.settings[0]]
    for name in PERSONAL:
        got = fitted[name].retrieve(ask, 6)
        circles = [world.circle[row[row >= 0]].tolist() for row in got.items]
        assert circles[0] == ([2] * 6 if name == "content" else []), name
        assert circles[1] == []
        assert (got.seeds[0] == NO_ITEM).all()
        assert circles[2].count(2) == (1 if name == "content" else 0), "a title of seven where nine were watched"
        assert_same(Retrieved(got.items[:1], got.scores[:1], got.seeds[:1]), fitted[name].retrieve(alone(ask, 0), 6))


def test_what_follows_a_title_ignores_picked_genres(world: World, fitted: dict[str, CandidateSource]) -> None:
    seed = np.array([5], np.int32)
    ask = ask_for(world.items, [[]], Page.POST_WATCH, seed_item=seed)
    plain = fitted["content"].retrieve(ask, 6)
    ask.profiles = profiles_of([[]], ProfileSettings(genres=("Circle 2",)))
    assert_same(plain, fitted["content"].retrieve(ask, 6))

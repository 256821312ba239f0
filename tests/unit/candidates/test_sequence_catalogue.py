from dataclasses import replace

import numpy as np
import pytest
import torch

from recray.candidates import sequence
from recray.candidates.sequence_catalogue import new_title_offset, resumed, widened
from recray.candidates.sequence_judge import Judge
from recray.candidates.sequence_model import Encoder, autocast, outputs
from recray.candidates.sequence_windows import windows
from recray.schema import NO_ITEM
from recray.settings import SequenceSettings
from worlds import AS_OF_S, World, ask_for, interactions_of, make_world

CONFIG = SequenceSettings(dim=16, max_length=6, batch_size=8, epochs=30, dropout=0.0, title_dropout=0.3, request_time=False)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(n_circles=2, n_profiles=60)


def without(world: World, *titles: int) -> World:
    """The world before anybody watched these titles."""
    return replace(world, interactions=world.interactions.where(~np.isin(world.interactions.item, titles)))


def test_an_encoder_of_all_titles_scores_known_ones_as_before_and_new_ones_by_content() -> None:
    items = make_world(n_circles=2, n_profiles=4).items
    watched = np.array([1, 4, 7])
    encoder = Encoder(3, CONFIG, torch.Generator().manual_seed(0), torch.from_numpy(items.content[watched])).eval()
    wide, unknown = widened(encoder, watched, items, CONFIG)
    assert encoder.about is not None
    with torch.no_grad():
        torch.testing.assert_close(wide.table()[watched], encoder.table()[:-1])
        torch.testing.assert_close(wide.table()[2], encoder.about(torch.from_numpy(items.content[2])))
        gaps = torch.zeros((1, 3), dtype=torch.int64)
        small = encoder(torch.tensor([[0, 2, 1]]), gaps, encoder.table())
        torch.testing.assert_close(wide(torch.tensor([[1, 7, 4]]), gaps, wide.table()), small)
    assert not unknown.any()
    blank = replace(items, content=np.where(np.arange(items.n)[:, None] == 2, np.float32(0), items.content))
    assert np.flatnonzero(widened(encoder, watched, blank, CONFIG)[1]).tolist() == [2]


@pytest.mark.parametrize(("started", "least", "share"), [(0, 0.2, 0.2), (0, 0.0, 1 / 22), (6, 0.1, 13 / 22)])
def test_the_offset_gives_new_titles_their_share_of_the_softmax(started: int, least: float, share: float) -> None:
    known = interactions_of([[1, 2, 3, 4]] * 10, 12)
    later = interactions_of([[9] if row < started else [5] for row in range(10)], 12, since_s=AS_OF_S)
    judge = Judge.of(known, later, 6, np.random.default_rng(0))
    encoder = Encoder(12, CONFIG, torch.Generator().manual_seed(0)).eval()
    new = np.isin(np.arange(12), [8, 9, 10])
    offset = new_title_offset(encoder, judge, new, least)
    with torch.no_grad():
        with autocast(torch.device("cpu")):  # as the judge asks, where the processor has bfloat16
            vector = encoder(torch.tensor([[1, 2, 3, 4]]), torch.zeros((1, 4), dtype=torch.int64), encoder.table())[0, -1]
        scores = vector.float() @ outputs(encoder.table()).T + torch.from_numpy(np.where(new, offset, 0))
    expected = share if started == 0 else (started + 0.5) / 11
    assert float(torch.softmax(scores, dim=0)[new].sum()) == pytest.approx(max(expected, (started + 0.5) / 11, least), rel=1e-4)


def test_without_new_titles_or_positions_there_is_no_offset() -> None:
    encoder = Encoder(4, CONFIG, torch.Generator().manual_seed(0)).eval()
    nothing = Judge.within(windows(interactions_of([[1]], 4), 6), np.random.default_rng(0))
    some = Judge.within(windows(interactions_of([[1, 2]], 4), 6), np.random.default_rng(0))
    assert new_title_offset(encoder, nothing, np.ones(4, np.bool_), 0.1) == -np.inf
    assert new_title_offset(encoder, some, np.zeros(4, np.bool_), 0.1) == -np.inf


def test_a_title_that_nobody_watched_is_proposed_to_those_who_watch_its_like(world: World) -> None:
    items, new = world.items, [2, 14]  # one of each circle
    source = sequence.fit(without(world, *new).interactions, items, CONFIG, seed=0)
    found = source.retrieve(ask_for(items, [[0, 1, 3], [12, 13, 15]]), items.n)
    place = [{title: rank for rank, title in enumerate(row)} for row in found.items.tolist()]
    assert place[0][2] < place[0][14]
    assert place[1][14] < place[1][2]


def test_without_content_a_title_that_nobody_watched_is_never_proposed(world: World) -> None:
    bare = replace(world.items, content=np.zeros_like(world.items.content))
    source = sequence.fit(without(world, 2).interactions, bare, CONFIG, seed=0)
    found = source.retrieve(ask_for(bare, [[0, 1, 3]]), bare.n)
    assert 2 not in found.items
    assert (found.items != NO_ITEM).any()


def test_a_source_restored_from_its_tensors_proposes_the_same(world: World) -> None:
    items = world.items
    source = sequence.fit(without(world, 2).interactions, items, CONFIG.model_copy(update={"epochs": 1}), seed=0)
    again = sequence.Sequence.restore(source.tensors(), source.config(), items)
    ask = ask_for(items, [[0, 1, 3], [5]])
    np.testing.assert_array_equal(source.retrieve(ask, 9).items, again.retrieve(ask, 9).items)
    np.testing.assert_array_equal(source.retrieve(ask, 9).scores, again.retrieve(ask, 9).scores)


def test_a_fit_that_goes_on_begins_as_the_former_one_ended_and_with_what_it_learnt_of_titles_and_content(world: World) -> None:
    items, known = world.items, np.arange(world.items.n) != 2
    former = sequence.fit(without(world, 2).interactions, items, CONFIG, seed=0)
    tensors = former.tensors()
    encoder = Encoder(items.n, CONFIG, torch.Generator().manual_seed(1), torch.from_numpy(items.content))
    resumed(encoder, tensors, np.arange(items.n), torch.from_numpy(items.content))
    with torch.no_grad():
        table, wide = encoder.eval().table()[:-1], torch.from_numpy(tensors["titles.weight"][:-1])
        torch.testing.assert_close(table, wide)
        assert encoder.titles.weight[2].abs().max() < 1e-5  # all that is known of a new title is its content
        assert encoder.titles.weight[:-1][torch.from_numpy(known)].abs().max() > 0.05


def test_a_few_epochs_more_are_enough_for_a_title_that_came_since(world: World) -> None:
    items, config = world.items, CONFIG.model_copy(update={"warm_epochs": 4})
    former = sequence.fit(without(world, 2).interactions, items, config, seed=0)
    losses: list[dict[str, float]] = []
    warm = sequence.fit(world.interactions, items, config, seed=0, report=losses.append, start=former)
    anew: list[dict[str, float]] = []
    sequence.fit(world.interactions, items, config.model_copy(update={"epochs": 4}), seed=0, report=anew.append)
    assert [one["epoch"] for one in losses] == [1, 2, 3, 4]
    assert losses[-1]["loss"] < anew[-1]["loss"]
    ask = ask_for(items, [[0, 1, 3]])
    assert warm.tensors()["offset"][2] == 0 != former.tensors()["offset"][2]
    assert 2 in warm.retrieve(ask, 4).items

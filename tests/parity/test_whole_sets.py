"""Every event of a set, and thousands of random lists, folded as they arrive and folded afterwards."""

import numpy as np
import pytest

from bundle_world import BundleWorld
from recray.bench import parity
from recray.data.states import state_of, words_in
from recray.features import fold
from recray.schema import Action, ProfileKey, Words
from recray.stores.lake import Lake

N_LISTS = 2_000


def quiet(line: str) -> None:
    """Nobody listens."""


def test_every_event_of_a_set_one_by_one_gives_the_states_of_its_whole_lists(world: BundleWorld) -> None:
    words = words_in(Lake(world.settings.lake_dir), "world")
    found = parity.replayed(words, quiet)
    assert (found["mismatches"], found["events"], found["profiles"]) == (0, sum(map(len, words.values())), len(words))
    assert found["events"] > 1_000
    assert {key: state_of(own) for key, own in words.items()} == {key: fold.encode(s) for key, s in world.states.items()}


async def test_random_lists_through_a_store_give_the_states_of_their_events() -> None:
    found = await parity.lists(N_LISTS, 20261123, quiet)
    assert found["mismatches"] == 0, found["mismatched"]
    assert found["arrivals"] > 50 * N_LISTS


async def test_a_state_that_lacks_one_event_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "state_of", lambda words: state_of(words[1:]))
    at_s = 1_000 + np.arange(250)
    own: Words = fold.pack(at_s, at_s, np.full(250, int(Action.PLAY)), np.ones(250, int), np.zeros(250, int))
    assert parity.replayed({ProfileKey("ann", "main"): own}, quiet)["mismatched"] == ["ann/main"]
    assert (await parity.lists(50, 1, quiet))["mismatches"] > 30

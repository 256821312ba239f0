"""What a page makes of candidates: which rows there are, in which order, and what they say."""

import numpy as np

from recray.features.fold import ProfileState
from recray.features.profiles import columns
from recray.features.views import SOURCES
from recray.pages.page import homepage
from recray.pages.rows import View
from recray.schema import Candidates, ProfileSettings
from worlds import make_world, state_of

WORLD = make_world()  # its genres are circles of twelve titles
N_SHOWN = 4


def rows(genres: tuple[str, ...], n_watched: int) -> list[tuple[str, str]]:
    """Titles and reasons of a page where `popular` proposed the whole catalogue, after so many titles of circle 0."""
    n = WORLD.items.n
    ranks = np.zeros((1, n, len(SOURCES)), np.int32)
    ranks[0, :, SOURCES.index("popular")] = np.arange(1, n + 1)
    none = np.full((1, n), -1, np.int32)
    candidates = Candidates(np.arange(n, dtype=np.int32)[None], np.zeros_like(ranks, np.float32), ranks, none, SOURCES)
    state = state_of(list(range(n_watched))) if n_watched else ProfileState()
    profiles = columns([state], [ProfileSettings(genres=genres)])
    worth = -np.arange(n, dtype=np.float32)
    order, liked = np.argsort(-worth, kind="stable"), np.zeros(12, np.float32)
    view = View(0, candidates, worth, order, order[:N_SHOWN], WORLD.items, profiles, liked, None)
    return [(one.row.title, one.row.reason) for one in homepage(view, 20, N_SHOWN * 2)]


def test_picked_genres_have_rows_in_the_order_of_picking_right_after_the_top_and_once() -> None:
    got = rows(("circle 4", "Circle 2", "unheard of"), 0)
    assert got[0] == ("Top picks for you", "What many watch, with the genres you picked")
    assert got[1:3] == [("Circle 4", "Because you picked Circle 4"), ("Circle 2", "Because you picked Circle 2")]
    titles = [title for title, _ in got]
    assert len(set(titles)) == len(titles)
    assert "Circle 1" in titles


def test_picked_genres_lead_until_a_history_says_more() -> None:
    for n_watched, leads in ((9, True), (10, False)):
        assert any(reason.startswith("Because you picked") for _, reason in rows(("Circle 4",), n_watched)) == leads


def test_without_picks_nothing_says_that_there_were_some() -> None:
    assert not any("picked" in reason for _, reason in rows((), 0))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recray.candidates.filters import FILTERS, eligibility, reasons, verdicts
from recray.features import fold
from recray.features.fold import ProfileState
from recray.features.items import Items
from recray.features.profiles import Profiles, columns
from recray.schema import NO_ITEM, Action, Bools, Kind, Page, ProfileSettings, Requests
from worlds import AS_OF_S, REGIONS, make_items, make_requests, profiles_of

CIRCLE = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], np.int32)


@pytest.fixture(scope="module")
def items() -> Items:
    return make_items(CIRCLE, np.random.default_rng(0))


def kept(items: Items, name: str, profiles: Profiles | None = None, **columns_: object) -> list[int]:
    """Titles that one filter keeps of a plain request with some columns changed."""
    found = verdicts(make_requests(1, **columns_), profiles or profiles_of([[]]), items, None)
    verdict = found.get(name, np.ones((1, items.n), np.bool_))
    return np.flatnonzero(verdict[0]).tolist()


def test_licence_is_that_of_the_request_then_of_the_country_then_of_every_region(items: Items) -> None:
    everywhere = [i for i in range(12) if i % 7]
    abroad = profiles_of([[]], ProfileSettings(country="US"))
    assert kept(items, "licence", region=["NL"]) == list(range(12))
    assert kept(items, "licence", region=["US"]) == everywhere
    assert kept(items, "licence", abroad, region=[None]) == everywhere
    assert kept(items, "licence", abroad, region=["NL"]) == list(range(12))
    assert kept(items, "licence", region=[None]) == everywhere
    assert kept(items, "licence", region=["FR"]) == everywhere


def test_licence_is_asked_at_each_request_s_own_moment(items: Items) -> None:
    ending = make_items(CIRCLE, np.random.default_rng(0))
    ending.available_until_s[0, 3] = AS_OF_S + 10
    requests = make_requests(2, now_s=np.array([AS_OF_S + 9, AS_OF_S + 10]))
    assert verdicts(requests, profiles_of([[], []]), ending, None)["licence"][:, 3].tolist() == [True, False]


def test_maturity_limit_is_inclusive_and_absent_for_adults(items: Items) -> None:
    def limited(limit: int | None) -> list[int]:
        return kept(items, "maturity", profiles_of([[]], ProfileSettings(maturity_limit=limit)))

    children = [i for i in range(12) if i % 5]
    assert limited(None) == limited(18) == list(range(12))
    assert limited(17) == limited(6) == children
    assert limited(5) == []


def test_kinds_are_a_mask_of_which_zero_allows_all(items: Items) -> None:
    assert kept(items, "kind") == list(range(12))
    mask = np.array([1 << Kind.SERIES | 1 << Kind.SPECIAL], np.uint8)
    assert kept(items, "kind", kinds=mask) == [1, 3, 5, 7, 9, 11]


def test_category_is_a_genre_or_a_kind_in_any_case_and_nothing_otherwise(items: Items) -> None:
    assert kept(items, "category", category=["cIrClE 1"]) == [4, 5, 6, 7]
    assert kept(items, "category", category=["Documentary"]) == [2, 6, 10]
    assert kept(items, "category", category=["no such"]) == []
    assert kept(items, "category", category=[""]) == list(range(12))


def test_watched_titles_stay_out_unless_asked_for_and_never_limit_resuming(items: Items) -> None:
    profiles = profiles_of([[2, 3, 500], [2, 3, 500]])
    requests = make_requests(2, exclude_watched=np.array([True, False]))
    eligible, resumable = eligibility(requests, profiles, items, None)
    assert np.flatnonzero(~eligible[0]).tolist() == [2, 3]
    assert eligible[1].all()
    assert resumable.all()


def test_hidden_and_disliked_titles_are_neither_proposed_nor_resumed(items: Items) -> None:
    actions = np.array([Action.HIDE, Action.DISLIKE, Action.LIKE])
    words = fold.pack(np.full(3, AS_OF_S), np.array([4, 5, 6]), actions, np.zeros(3), np.zeros(3))
    older = ProfileState(hidden=np.array([7, 99], np.int32))
    eligible, resumable = eligibility(make_requests(1), columns([fold.fold(older, words)], [ProfileSettings()]), items, None)
    assert np.flatnonzero(~eligible[0]).tolist() == np.flatnonzero(~resumable[0]).tolist() == [4, 5, 7]


def test_title_just_watched_is_not_recommended_after_itself(items: Items) -> None:
    assert kept(items, "seed", page=np.array([Page.POST_WATCH]), seed_item=np.array([6])) == [i for i in range(12) if i != 6]
    assert kept(items, "seed") == list(range(12))


def test_search_keeps_what_the_query_matches(items: Items) -> None:
    matches: Bools = np.arange(12)[None] < 3
    eligible, resumable = eligibility(make_requests(1), profiles_of([[1]]), items, matches)
    assert np.flatnonzero(eligible[0]).tolist() == [0, 2]
    assert np.flatnonzero(resumable[0]).tolist() == [0, 1, 2]
    named = verdicts(make_requests(1), profiles_of([[1]]), items, matches)
    assert reasons(named, 0, 5) == ["query"]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Requests, Profiles]:
    n = draw(st.integers(0, 3))

    def each(strategy: st.SearchStrategy[object]) -> list[object]:
        return [draw(strategy) for _ in range(n)]

    requests = make_requests(
        n,
        region=each(st.sampled_from([*REGIONS, "FR", None])),
        kinds=np.array(each(st.integers(0, 15)), np.uint8),
        category=each(st.sampled_from(["", "circle 0", "movie", "none"])),
        exclude_watched=np.array(each(st.booleans()), np.bool_),
        seed_item=np.array(each(st.integers(NO_ITEM, 14)), np.int32),
    )
    histories = [draw(st.lists(st.integers(0, 20), max_size=5)) for _ in range(n)]
    profiles = profiles_of(histories)
    profiles.settings = [ProfileSettings(country=draw(st.sampled_from([None, "US"])), maturity_limit=limit)
                         for limit in each(st.sampled_from([None, 6, 18]))]  # fmt: skip
    return requests, profiles


@settings(max_examples=60, deadline=None)
@given(batches())
def test_every_title_is_either_kept_or_dropped_for_a_named_reason(batch: tuple[Requests, Profiles]) -> None:
    items = make_items(CIRCLE, np.random.default_rng(0))
    requests, profiles = batch
    eligible, resumable = eligibility(requests, profiles, items, None)
    named = verdicts(requests, profiles, items, None)
    assert list(named) == [rule.name for rule in FILTERS if rule.name in named]
    assert all(mask.shape == eligible.shape and mask.dtype == np.bool_ for mask in named.values())
    for row in range(requests.n):
        for item in range(items.n):
            why = reasons(named, row, item)
            assert (not why) == eligible[row, item]
            assert (not set(why) - {"watched"}) == resumable[row, item]

"""Names of answers: equal for the same question, different whenever anything that decides the answer is."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.errors import StageError
from recray.experiments.assign import Experiment, Experiments
from recray.serving.asking import DEVICES, KINDS, PAGES, Asked
from recray.serving.naming import LicencePeriods, Naming, context_of
from recray.settings import SlateSettings, resolve

ASKED = Asked("homepage", "anna", "main", n_items=20, n_rows=10)
NOON_S = 1_700_000_000
ids = st.text(max_size=8)
questions = st.builds(
    Asked,
    page=st.sampled_from(PAGES),
    user_id=ids,
    profile_id=ids,
    n_items=st.integers(1, 100),
    n_rows=st.integers(1, 40),
    device=st.sampled_from(DEVICES),
    region=st.none() | st.sampled_from(["FR", "US"]),
    watched_content_id=st.none() | ids,
    query=ids,
    category=ids,
    content_types=st.lists(st.sampled_from(KINDS), max_size=3).map(tuple),
    exclude_watched=st.booleans(),
)


def catalogue(*changes: tuple[int, int]) -> Any:
    """Licences of one region, from and until."""
    from_s, until_s = np.array(changes or np.empty((0, 2)), np.int64).reshape(-1, 2).T
    return SimpleNamespace(available_from_s=from_s[None], available_until_s=until_s[None])


@dataclass
class Shelved:
    """A shelf of bundles without contents: aliases name ids."""

    aliases: dict[str, str] = field(default_factory=lambda: {"champion": "b1"})
    items: Any = field(default_factory=catalogue)

    def named(self, name: str) -> Any:
        if not self.aliases:
            raise StageError("no bundle is loaded")
        return SimpleNamespace(id=self.aliases.get(name, name), items=self.items)


def naming(shelf: Shelved | None = None, context: str = "c", arms: dict[str, Any] | None = None, **slate: Any) -> Naming:
    one = {"name": "e", "salt": "s", "status": "running", "arms": arms or {}}
    experiments = Experiments((Experiment.model_validate(one),)) if arms else Experiments(())
    parts: Any = SimpleNamespace(experiments=experiments, shelf=shelf or Shelved(), slate=SlateSettings(**slate))
    return Naming(parts, context)


def same_question(asked: Asked) -> dict[str, Any]:
    return asked.facts() | {"content_types": set(asked.content_types)}


@given(questions, questions)
def test_two_questions_share_a_name_only_if_they_are_the_same(one: Asked, other: Asked) -> None:
    names = naming()
    assert (names.name(one, NOON_S) == names.name(other, NOON_S)) == (same_question(one) == same_question(other))


@given(questions, st.data())
def test_any_other_profile_has_another_name_for_the_same_question(asked: Asked, data: st.DataObject) -> None:
    other = dataclasses.replace(asked, user_id=data.draw(ids), profile_id=data.draw(ids))
    names = naming()
    same = (asked.user_id, asked.profile_id) == (other.user_id, other.profile_id)
    assert (names.name(asked, NOON_S) == names.name(other, NOON_S)) == same


def test_parts_of_ids_cannot_be_moved_across_their_border() -> None:
    pairs = [("a/b", "c"), ("a", "b/c"), ('a","b', "c"), ("ab", ""), ("", "ab"), ("a", "b"), ("a\x00b", "")]
    names = naming()
    given_names = {names.name(dataclasses.replace(ASKED, user_id=u, profile_id=p), NOON_S) for u, p in pairs}
    assert len(given_names) == len(pairs)


def test_name_is_the_same_on_every_replica_and_whatever_the_order_of_kinds() -> None:
    kinds = dataclasses.replace(ASKED, content_types=("movie", "series"))
    turned = dataclasses.replace(ASKED, content_types=("series", "movie", "series"))
    assert naming().name(kinds, NOON_S) == naming().name(turned, NOON_S)
    assert naming().name(ASKED, NOON_S) == bytes.fromhex("8a59dbef9e5ad218c9d3aead2329017b0a28dd0f620d2323eec58e8e38d4d27e")


ARM = {"a": {"weight": 1}, "b": {"weight": 0}}
OTHERS: dict[str, Callable[[], Naming]] = {
    "bundle promoted": lambda: naming(Shelved({"champion": "b2"})),
    "arm met": lambda: naming(arms=ARM),
    "other arm": lambda: naming(arms={"a": {"weight": 0}, "b": {"weight": 1}}),
    "arm's ranker": lambda: naming(arms=ARM | {"a": {"weight": 1, "ranker": "boosted"}}),
    "arm's bundle": lambda: naming(Shelved({"champion": "b1", "challenger": "b3"}), arms=ARM | {"a": {"bundle": "challenger"}}),
    "arm's slate": lambda: naming(arms=ARM | {"a": {"weight": 1, "slate": {"diversity": 0.5}}}),
    "settings": lambda: naming(context="d"),
}


def test_whatever_decides_an_answer_changes_its_name() -> None:
    given_names = {what: other().name(ASKED, NOON_S) for what, other in OTHERS.items()} | {"": naming().name(ASKED, NOON_S)}
    assert len(set(given_names.values())) == len(given_names)
    assert all(other().name(ASKED, NOON_S) == given_names[what] for what, other in OTHERS.items())


def test_settings_that_decide_answers_give_another_context() -> None:
    differences: list[dict[str, Any]] = [
        {},
        {"sources": {"quota": 7}},
        {"slate": {"diversity": 0.9}},
        {"serving": {"default_region": "FR"}},
    ]
    assert len({context_of(resolve(one)) for one in differences}) == len(differences)
    assert context_of(resolve({"serving": {"port": 1}})) == context_of(resolve({}))


@pytest.mark.parametrize("by", ["settings", "arm"])
def test_slate_that_is_drawn_at_random_has_no_name(by: str) -> None:
    drawn = naming(exploration=0.1) if by == "settings" else naming(arms=ARM | {"a": {"slate": {"exploration": 0.1}}})
    assert drawn.name(ASKED, NOON_S) is None
    assert naming(exploration=0.1, arms=ARM | {"a": {"slate": {"exploration": 0.0}}}).name(ASKED, NOON_S) is not None


def test_without_a_bundle_there_is_no_answer_to_name() -> None:
    with pytest.raises(StageError):
        naming(Shelved({})).name(ASKED, NOON_S)


def test_name_changes_when_any_licence_begins_or_ends() -> None:
    names = naming(Shelved(items=catalogue((NOON_S, NOON_S + 50), (NOON_S + 20, NOON_S + 90))))
    seen = [names.name(ASKED, NOON_S + second) for second in range(-10, 100)]
    changes = [second - 10 for second in range(1, 110) if seen[second] != seen[second - 1]]
    assert changes == [0, 20, 50, 90]
    assert len(set(seen)) == 5


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8),
    st.lists(st.integers(0, 60), min_size=2, max_size=20),
)
def test_moments_of_one_licence_period_are_those_between_which_nothing_changes(
    windows: list[tuple[int, int]], moments: list[int]
) -> None:
    items, periods = catalogue(*windows), LicencePeriods()
    changes = {moment for window in windows for moment in window}
    began = {moment: periods.began_s(items, moment) for moment in moments}
    for one in moments:
        for other in moments:
            between = any(min(one, other) < change <= max(one, other) for change in changes)
            assert (began[one] != began[other]) == between

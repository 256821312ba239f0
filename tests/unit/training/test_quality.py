import re
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pytest

import worlds
from recray.candidates.source import Ask, best
from recray.data.history import History
from recray.data.split import Boundaries
from recray.errors import ConfigError, DataError
from recray.evaluation import tracks
from recray.features.items import Items
from recray.schema import AVAILABILITY, PROFILES, TITLES, Bools, ProfileKey, Retrieved, Tensors
from recray.settings import resolve
from recray.stores.erased import Erased
from recray.stores.lake import Snapshot
from recray.training.quality import Measured, Plan, measure
from recray.training.track_requests import DEPTH, packed, profiles, rank

STEADY = resolve(
    {
        "sources": {"popularity_half_life_days": 1e15, "factors": 8, "als_iterations": 2},
        "sequence": {"epochs": 2, "dim": 8, "max_length": 8},
    }
)
HISTORIES = [[0, 1, 2, 3], [0, 1, 3, 2], [0, 2, 1, 4]]


def silent(line: str) -> None:
    pass


def history_of(histories: Sequence[Sequence[int]], n_titles: int, stars: Sequence[float] = ()) -> History:
    plays = worlds.interactions_of(histories, n_titles)
    plays.region[:] = -1
    if stars:
        plays.rating[:] = stars
    ids = [f"t{number}" for number in range(n_titles)]
    rows = [{"content_id": one, "name": one, "kind": "movie", "genres": []} for one in ids]
    return History(
        name="tiny",
        manifest={"source": "by hand"},
        titles=pa.Table.from_pylist(rows, schema=TITLES),
        availability=AVAILABILITY.empty_table(),
        profiles=PROFILES.empty_table(),
        plays=plays,
        keys=[ProfileKey(f"u{number}", "main") for number in range(len(histories))],
        number_of={one: number for number, one in enumerate(ids)},
        content=np.eye(n_titles, 4, dtype=np.float32),
        snapshot=Snapshot([], [], {}, Erased()),
        periods=Boundaries(0, 0, 0, 0),
    )


def measured(plan: Plan, histories: Sequence[Sequence[int]] = HISTORIES, n_titles: int = 6) -> Measured:
    return measure(history_of(histories, n_titles), plan, STEADY, silent)


def test_popularity_on_a_tiny_set_has_the_figures_that_one_counts_by_hand() -> None:
    # Learnt from 0 1, 0 1, 0 2: popularity 0, 1, 2, then 3 and 4 by number. Left to rank: 3 4, 2 4, 3 4; targets 3, 2, 4.
    facts = measured(Plan("B", ["popular"])).facts
    own = facts["models"]["popular"]
    for k in (10, 50, 200):
        assert own[f"hr@{k}"] == 1
        assert own[f"ndcg@{k}"] == pytest.approx((1 + 1 + 1 / np.log2(3)) / 3)
    assert own["mrr@10"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert own["coverage@10"] == 3 / 5
    assert own["seed"] == STEADY.training.seed
    assert own["chosen_on"] == "nothing: settings as given"
    assert set(own["seconds"]) == {"fit", "fit_cpu", "evaluate"}
    assert facts["data"] == {
        "name": "tiny",
        "source": "by hand",
        "users": 3,
        "items": 5,
        "interactions": 12,
        "learnt": 6,
        "validation": 3,
        "test_targets": 3,
        "test_targets_never_learnt": 2,
    }
    assert facts["protocol"].startswith(tracks.PROTOCOLS["B"])


def test_the_first_titles_carry_the_data_sets_own_ids_and_ranks_from_one() -> None:
    top = measured(Plan("B", ["popular"])).top.to_pydict()
    assert set(top["model"]) == {"popular"}
    assert top["user_id"] == ["u0", "u0", "u1", "u1", "u2", "u2"]
    assert top["n_seen"] == [3] * 6
    assert top["rank"] == [1, 2] * 3
    assert top["content_id"] == ["t3", "t4", "t2", "t4", "t3", "t4"]


def test_a_rating_does_not_move_a_ranking_track() -> None:
    poor = [1.0, 1, 5, 5, 1, 1, 5, 5, 1, 5, 5, 5]
    with_stars = measure(history_of(HISTORIES, 6, poor), Plan("B", ["popular"]), STEADY, silent)
    assert with_stars.top == measured(Plan("B", ["popular"])).top


def test_every_judged_model_runs_and_the_sequence_model_says_what_chose_it() -> None:
    walks = [[(start + step) % 12 for step in range(8)] for start in range(12)]
    found = measured(Plan("B"), walks, 12)
    assert list(found.facts["models"]) == Plan("B").judged()
    assert {"popular", "sequence"} < set(Plan("B").judged())
    assert set(found.facts["not_judged"]) == {"new_releases", "resume"}
    sequence = found.facts["models"]["sequence"]
    assert sequence["chosen_on"].startswith("epochs by NDCG@10")
    assert [one["epoch"] for one in sequence["epochs"]] == [1, 2]
    assert found.facts["models"]["cowatch"]["hr@10"] == 1
    # Every title is watched equally often, so that none is on the rise.
    assert set(found.top["model"].to_pylist()) == set(found.facts["models"]) - {"trending"}


def test_seeds_and_tie_shuffles_report_mean_deviation_and_every_run() -> None:
    own = measured(Plan("B", ["popular"], n_seeds=2, n_tie_shuffles=3)).facts["models"]["popular"]
    first = STEADY.training.seed
    assert list(own["over_seeds"]["runs"]) == [str(first), str(first + 1)]
    assert own["over_seeds"]["deviation"]["ndcg@10"] == 0
    assert own["over_tie_shuffles"]["n"] == 3
    assert own["over_tie_shuffles"]["mean"]["ndcg@10"] == pytest.approx(own["ndcg@10"])  # no two times are equal


def test_tie_shuffles_read_equal_times_in_other_orders() -> None:
    tied = history_of([[(start + step) % 12 for step in range(6)] for start in range(12)], 12)
    tied.plays.at_s[:] = 7
    own = measure(tied, Plan("B", ["popular"], n_tie_shuffles=2), STEADY, silent).facts["models"]["popular"]
    spread = own["over_tie_shuffles"]
    figures = [run["ndcg@10"] for run in spread["runs"].values()]
    assert len({own["ndcg@10"], *figures}) == 3
    assert spread["mean"]["ndcg@10"] == pytest.approx(np.mean(figures))
    assert spread["deviation"]["ndcg@10"] == pytest.approx(np.std(figures, ddof=1))


def test_the_track_with_request_time_judges_no_model_that_does_not_use_it() -> None:
    found = measured(Plan("C"))
    assert list(found.facts["models"]) == ["sequence"]
    assert "sequence" not in found.facts["not_judged"]
    assert set(found.facts["not_judged"].values()) == {"its scores do not depend on the moment of the request"}
    assert found.facts["data"]["test_targets"] == 3
    assert set(found.top["model"].to_pylist()) == {"sequence"}


def test_ratings_are_judged_by_their_error() -> None:
    rng = np.random.default_rng(0)
    histories = [list(range(20))] * 20
    stars = [3 + (1 if place % 2 else -1) for place in range(400)]
    found = measure(history_of(histories, 20, stars), Plan("F", ["bias"], n_seeds=2), STEADY, silent)
    own = found.facts["models"]["bias"]
    assert own["rmse"] < 0.2
    assert own["mae"] <= own["rmse"]
    assert found.facts["data"]["test_targets"] == 40
    assert own["over_seeds"]["n"] == 2
    assert not len(found.top)
    noise = measure(history_of(histories, 20, rng.integers(1, 6, 400).tolist()), Plan("F", ["bias"]), STEADY, silent)
    assert noise.facts["models"]["bias"]["rmse"] > 1


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (("E",), "track is 'E'; expected one of A, B, C, D, F"),
        (("B", ["bias"]), "track B does not judge bias; expected some of popular, trending, "),
        (("C", ["popular"]), "track C does not judge popular; expected some of sequence, or all"),
        (("F", ["popular"]), "track F does not judge popular; expected some of bias, factorization, or all"),
        (("B", [], 0), "0 seeds and 0 tie shuffles came for track B"),
        (("F", [], 1, 2), "1 seeds and 2 tie shuffles came for track F"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(plan: tuple[Any, ...], wanted: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        Plan(*plan)


def test_a_set_without_ratings_is_refused_on_the_rating_track() -> None:
    with pytest.raises(DataError, match="ratings came to be learnt from"):
        measured(Plan("F", ["bias"]))


class ByNumber:
    """Proposes titles in the order of their numbers, and remembers what it was asked."""

    name: ClassVar[str] = "by_number"

    def __init__(self) -> None:
        self.eligible: list[Bools] = []
        self.histories: list[list[int]] = []

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        self.eligible.extend(ask.eligible)
        self.histories.extend(row[row >= 0].tolist() for row in ask.profiles.history)
        return best(np.broadcast_to(-np.arange(ask.items.n, dtype=np.float32), ask.eligible.shape), ask.eligible, k)

    def tensors(self) -> Tensors:
        return {}

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls()


def test_a_request_knows_its_whole_history_newest_first_in_the_order_of_the_rows() -> None:
    history = history_of([[3, 1, 0, 2, 4]], 6)
    history.plays.at_s[:] = 7  # a folded state would order these by title number
    track = tracks.make("B", history.plays)
    source = ByNumber()
    ranked = rank(source, track, history.catalogue(8), history.keys)
    assert source.histories == [[2, 0, 1, 3]]
    assert np.flatnonzero(source.eligible[0]).tolist() == [4]
    assert ranked.rank.tolist() == [1]


def test_a_target_beyond_the_titles_asked_for_is_a_miss() -> None:
    n_titles = DEPTH + 50
    history = history_of([[0, 1, n_titles - 1], list(range(n_titles - 1)), [0, 1, DEPTH + 1]], n_titles)
    ranked = rank(ByNumber(), tracks.make("B", history.plays), history.catalogue(worlds.AS_OF_S), history.keys)
    # Titles 0 and 1 are seen, so that title t has rank t - 1: DEPTH + 1 is the last that is found.
    assert ranked.rank.tolist() == [DEPTH + 1, 1, DEPTH]
    assert ranked.top[0].tolist() == list(range(2, 12))
    assert ranked.top[1].tolist() == [n_titles - 2, n_titles - 1] + [-1] * 8


def test_what_no_longer_is_recent_is_still_watched() -> None:
    walk = list(range(300))
    history = history_of([walk], 300)
    track = tracks.make("B", history.plays)
    known = profiles(track.plays, track.targets, packed(track.plays))
    assert known.history[0].tolist() == walk[98 : 298 + 1][::-1][:200]
    assert sorted(known.watched(0).tolist()) == walk[:299]

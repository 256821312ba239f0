from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recray.data.ingest import ingest
from recray.data.raw import RawTables
from recray.errors import ConfigError
from recray.schema import NO_ITEM, ProfileKey
from recray.simulation import world
from recray.simulation.titles import CHILDREN_TASTES, N_TASTES, Catalogue, invent
from recray.simulation.world import WorldSettings, build, load, pad
from recray.stores.lake import Lake

WORLDS = Path(__file__).parents[3] / "datasets" / "worlds"


@pytest.fixture(scope="module")
def settings() -> WorldSettings:
    return load(WORLDS / "small.yaml")


@pytest.fixture(scope="module")
def small(settings: WorldSettings) -> RawTables:
    return build(settings)


@pytest.fixture(scope="module")
def truth(settings: WorldSettings) -> Catalogue:
    """The catalogue that `build` invents first, from the same seed."""
    return invent(settings.n_titles, settings.window_s, np.random.default_rng(settings.seed))


def frame(raw: RawTables, table: str) -> pl.DataFrame:
    rows = raw.tables[table]
    return pl.DataFrame(pl.from_arrow(rows.drop_columns([c for c in rows.column_names if c == "localized_names"])))


def plays(raw: RawTables, truth: Catalogue) -> pl.DataFrame:
    number = pl.DataFrame({"content_id": truth.frame["content_id"], "item": np.arange(len(truth.frame))})
    events = frame(raw, "events").filter(pl.col("action") == "play").join(number, on="content_id", maintain_order="left")
    return events.with_columns(key=pl.format("{}/{}", "user_id", "profile_id")).sort("key", "event_at")


def test_sizes_are_as_set(settings: WorldSettings, small: RawTables) -> None:
    assert small.tables["titles"].num_rows == settings.n_titles
    assert small.tables["profiles"].num_rows == settings.n_profiles
    assert settings.n_events - 30 < small.tables["events"].num_rows <= settings.n_events


def test_a_seed_gives_one_world_and_another_seed_another(settings: WorldSettings, small: RawTables) -> None:
    again = build(settings)
    assert all(again.tables[name].equals(small.tables[name]) for name in small.tables)
    assert not build(settings.model_copy(update={"seed": 1})).tables["events"].equals(small.tables["events"])


def test_the_world_passes_its_own_import_without_a_reject(tmp_path: Path, small: RawTables) -> None:
    result = ingest(Lake(tmp_path), "world", small, report=lambda _: None)
    assert result.rejects == {}
    assert (result.duplicates, result.profiles_created) == (0, 0)
    assert result.rows["events"] == small.tables["events"].num_rows


def test_nobody_is_shown_what_region_age_or_time_forbids(small: RawTables) -> None:
    licences = frame(small, "availability").select("content_id", country="region", licensed=pl.lit(value=True))
    shown = (
        frame(small, "events")
        .join(frame(small, "profiles"), on=["user_id", "profile_id"])
        .join(frame(small, "titles"), on="content_id")
        .join(licences, on=["content_id", "country"], how="left")
    )
    assert len(shown) == small.tables["events"].num_rows
    assert shown["licensed"].null_count() == 0
    assert shown.filter(pl.col("maturity") > pl.col("maturity_limit")).is_empty()
    assert shown.filter(pl.col("event_at") < pl.col("added_at")).is_empty()
    assert shown.filter(pl.col("event_at") < pl.col("created_at")).is_empty()


def test_a_session_runs_from_impressions_to_plays_to_their_end(small: RawTables) -> None:
    events = frame(small, "events")
    first = events.group_by("recommendation_id", "content_id", "action").agg(pl.col("event_at").min())
    by_action = first.pivot("action", index=["recommendation_id", "content_id"], values="event_at")
    assert by_action["impression"].null_count() == 0
    assert by_action.filter(pl.col("play") <= pl.col("impression")).is_empty()
    assert by_action.filter(pl.col("complete") <= pl.col("play")).is_empty()
    assert by_action.filter(
        pl.col("play").is_not_null() & pl.col("complete").is_null() & pl.col("progress").is_null()
    ).is_empty()
    assert events.group_by("recommendation_id").agg(pl.struct("user_id", "profile_id").n_unique())["user_id"].max() == 1


def test_lower_positions_are_looked_at_less(small: RawTables) -> None:
    """Of what was not started, a click falls on any title that was looked at, liked or not: it shows the bias alone."""
    n = {action: (pl.col("action") == action).sum() for action in ("click", "impression", "play")}
    clicked = n["click"] / (n["impression"] - n["play"])
    rate = frame(small, "events").group_by(lower=pl.col("position") >= 3).agg(rate=clicked).sort("lower")["rate"]
    assert rate[0] > 1.3 * rate[1] > 0


def test_households_have_several_profiles_and_some_a_childs(small: RawTables) -> None:
    profiles = frame(small, "profiles")
    sizes = profiles.group_by("user_id").agg(pl.len(), pl.col("country").n_unique())
    assert set(sizes["len"]) == {1, 2, 3, 4}
    assert sizes["country"].max() == 1
    children = profiles.filter(pl.col("maturity_limit").is_not_null())
    assert 0.02 < len(children) / len(profiles) < 0.2
    assert set(children["age_group"]) == {"under-18"}


def test_co_watching_recovers_the_planted_tastes(small: RawTables, truth: Catalogue) -> None:
    watched = plays(small, truth).select("key", "item").unique()
    pairs = watched.join(watched, on="key").filter(pl.col("item") != pl.col("item_right"))
    taste = pl.Series(truth.taste)
    together = pairs.select(
        (taste.gather(pl.Series(pairs["item"])) == taste.gather(pl.Series(pairs["item_right"]))).mean()
    ).item()
    share = watched.select(pl.Series(truth.taste[watched["item"].to_numpy()]).alias("taste"))["taste"].value_counts()["count"]
    by_chance = ((share / share.sum()) ** 2).sum()
    assert together > 2 * by_chance


def test_the_next_part_of_a_franchise_is_watched_next(small: RawTables, truth: Catalogue) -> None:
    item = plays(small, truth).select("key", "item", following=pl.col("item").shift(-1).over("key")).drop_nulls()
    successor = truth.successor[item["item"].to_numpy()]
    has_one = successor != NO_ITEM
    hit = (item["following"].to_numpy() == successor)[has_one].mean()
    assert hit > 0.1
    assert hit > 20 / len(truth.frame)


def test_names_are_unique_and_parts_of_a_franchise_come_in_order(truth: Catalogue) -> None:
    assert truth.frame["name"].n_unique() == len(truth.frame)
    has_next = np.flatnonzero(truth.successor != NO_ITEM)
    assert len(has_next) > 10
    assert (truth.taste[has_next] == truth.taste[truth.successor[has_next]]).all()
    assert (truth.added_at_s[has_next] <= truth.added_at_s[truth.successor[has_next]]).all()
    released = truth.frame["release_date"]
    assert all(released[int(n)] < released[int(truth.successor[n])] for n in has_next)
    assert (truth.frame["added_at"].dt.date() >= released).all()


def test_a_large_catalogue_has_unique_names() -> None:
    large = invent(8_000, (0, 10**8), np.random.default_rng(3))
    assert large.frame["name"].n_unique() == 8_000
    assert set(large.taste) == set(range(N_TASTES))
    assert large.maturity[np.isin(large.taste, CHILDREN_TASTES)].max() == 7


def test_padding_brings_a_catalogue_to_its_size_and_keeps_its_titles(small: RawTables) -> None:
    titles = small.tables["titles"]
    padded = pad(titles, 1_000, 5)
    assert padded.num_rows == 1_000
    assert padded.slice(0, titles.num_rows).equals(titles)
    assert len(set(padded["content_id"].to_pylist())) == 1_000
    assert pad(titles, 10, 5).equals(titles)


@pytest.mark.parametrize("path", sorted(WORLDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_worlds_file_loads(path: Path) -> None:
    assert load(path) != WorldSettings()


@pytest.mark.parametrize("text", ["n_title: 5", "n_titles: 0", "- 1", "["])
def test_an_unusable_file_says_which(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad.yaml cannot be used"):
        load(tmp_path / "bad.yaml")


@pytest.mark.parametrize("update", [{"n_titles": 1}, {"n_profiles": 1}, {"n_events": 1}, {"n_regions": 1}, {"days": 1}])
def test_the_smallest_worlds_can_be_built(settings: WorldSettings, update: dict[str, int]) -> None:
    tiny = settings.model_copy(update={"n_titles": 20, "n_profiles": 10, "n_events": 200, **update})
    assert world.build(tiny).tables["titles"].num_rows == tiny.n_titles


def test_the_truth_is_that_of_the_world_that_is_built() -> None:
    """First places are always looked at: what is started there is what was planted."""
    settings = WorldSettings(n_titles=200, n_profiles=200, n_events=40_000, days=40)
    events, planted = pl.from_arrow(build(settings).tables["events"]), world.truth(settings)
    first = events.filter((pl.col("action") == "impression") & (pl.col("position") == 0))
    started = events.filter((pl.col("action") == "play") & (pl.col("position") == 0))
    row_of = {name: row for row, name in enumerate(planted.catalogue.frame["content_id"])}
    who = np.array([planted.row_of[ProfileKey(*key)] for key in first.select("user_id", "profile_id").iter_rows()])
    items = np.array([row_of[name] for name in first["content_id"]], np.int32)[:, None]
    last = np.full((len(who), 3), NO_ITEM, np.int32)
    wished = planted.p_start(who, items, last)
    assert len(started) / len(first) == pytest.approx(wished.mean(), abs=0.05)
    successors = planted.catalogue.successor
    part = int(np.flatnonzero(successors >= 0)[0])
    after = planted.p_start(who[:1], successors[[part]][None, :], np.array([[NO_ITEM, part, NO_ITEM]]))
    assert after > planted.p_start(who[:1], successors[[part]][None, :], last[:1])
    assert planted.p_start(who[:1], np.array([[NO_ITEM]]), last[:1]) == 0

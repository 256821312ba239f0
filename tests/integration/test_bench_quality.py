"""`recray bench quality` on real data: its figures against a count that shares no code with it."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from recray.cli.app import app
from recray.errors import ConfigError, DataError

CHEAP = ("popular", "trending", "cowatch", "item_based", "neighbours", "factors", "content")
STEADY = "sources: {popularity_half_life_days: 1.0e15}"


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception


@pytest.fixture(scope="module")
def archive(data_dir: Path) -> Path:
    path = data_dir / "ml-100k.zip"
    if not path.exists():
        pytest.skip(f"ml-100k is not at {path}")
    return path


@pytest.fixture(scope="module")
def home(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "steady.yaml").write_text(STEADY)
    run("import", "ml-100k", "--from", archive, "--home", home)
    return home


@pytest.fixture(scope="module")
def ratings(archive: Path) -> pd.DataFrame:
    with zipfile.ZipFile(archive) as opened:
        raw = opened.read(next(name for name in opened.namelist() if name.endswith("u.data")))
    read = pd.read_csv(io.BytesIO(raw), sep="\t", names=["user", "item", "stars", "at"], dtype={"user": str, "item": str})
    return read.sort_values(["user", "at"], kind="stable")


def bench(home: Path, track: str, *words: object) -> tuple[dict[str, Any], pd.DataFrame]:
    json_path, topk = home / f"{track}.json", home / "deep" / f"{track}.parquet"
    about = ("--data", "ml-100k", "--home", home, "--settings", home / "steady.yaml", "--json", json_path, "--topk", topk)
    run("bench", "quality", "--track", track, *about, *words)
    assert not list(topk.parent.glob(".*"))
    return json.loads(json_path.read_text()), pd.read_parquet(topk)


def popular_by_hand(ratings: pd.DataFrame) -> tuple[float, float]:
    """Hit rate and NDCG at 10 of the plain count of what is before the last two, ties by the title's number."""
    learnt = ratings[ratings.groupby("user").cumcount(ascending=False) >= 2]
    catalogue = sorted(ratings["item"].unique(), key=int)
    counts = learnt.groupby("item").size().reindex(catalogue, fill_value=0)
    order = counts.sort_values(ascending=False, kind="stable").index
    gains = []
    for _, titles in ratings.groupby("user")["item"]:
        *seen, target = titles
        rank = [title for title in order if title not in set(seen)].index(target) + 1
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0)
    return float(np.mean(np.array(gains) > 0)), float(np.mean(gains))


def test_figures_and_lists_agree_with_the_raw_file(home: Path, ratings: pd.DataFrame) -> None:
    facts, top = bench(home, "B", "--models", ",".join(CHEAP))
    data = facts["data"]
    assert (data["users"], data["items"], data["interactions"], data["test_targets"]) == (943, 1682, 100_000, 943)
    assert set(facts["models"]) == set(CHEAP)
    assert {"cpu", "cores"} <= set(facts["machine"])
    assert facts["date"].endswith("+00:00")
    seen = set(zip(ratings["user"], ratings["item"], strict=True))
    last = ratings.groupby("user")["item"].last()
    for name, shown in top.groupby("model"):
        figures = facts["models"][name]
        hits = shown[shown["content_id"].to_numpy() == last[shown["user_id"]].to_numpy()]
        assert len(hits) / 943 == pytest.approx(figures["hr@10"])
        assert (1 / np.log2(hits["rank"] + 1)).sum() / 943 == pytest.approx(figures["ndcg@10"])
        assert shown["content_id"].nunique() / 1682 == pytest.approx(figures["coverage@10"])
        shown_seen = seen & set(zip(shown["user_id"], shown["content_id"], strict=True))
        assert len(shown_seen) == len(hits)  # of what is shown, only targets are in the file
    popular = facts["models"]["popular"]
    assert (popular["hr@10"], popular["ndcg@10"]) == pytest.approx(popular_by_hand(ratings))
    assert facts["models"]["cowatch"]["ndcg@10"] > 2 * popular["ndcg@10"]


def test_the_other_tracks_run_on_real_data(home: Path) -> None:
    core, _ = bench(home, "A", "--models", "popular", "--tie-shuffles", 2)
    assert core["data"]["items"] == 1349  # of 1,682 titles so many have five ratings
    spread = core["models"]["popular"]["over_tie_shuffles"]
    assert spread["n"] == 2
    assert spread["deviation"]["ndcg@10"] > 0
    pages, shown = bench(home, "C", "--epochs", 1)
    assert set(pages["models"]) == {"sequence"}
    assert shown.groupby("user_id").size().eq(10).all()
    later, top = bench(home, "D", "--models", "popular")
    assert later["data"]["test_targets"] > 9_000
    assert not top.duplicated(["user_id", "n_seen", "rank"]).any()


def test_ratings_are_predicted_better_by_taste_than_by_means(home: Path) -> None:
    facts, _ = bench(home, "F", "--models", "all")
    error = {name: figures["rmse"] for name, figures in facts["models"].items()}
    assert error["factorization"] < error["bias"] < 0.96


def test_a_set_that_was_never_imported_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no data set 'ml-1m'; it has none: run `recray import ml-1m`"):
        run("bench", "quality", "--data", "ml-1m", "--home", tmp_path)


def test_an_unknown_model_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="track B does not judge best"):
        run("bench", "quality", "--models", "popular, best", "--home", tmp_path)

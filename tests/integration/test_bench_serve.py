"""`recray bench serve` on a small bundle: the peers are started, agree, are loaded and measured, and leave nothing behind."""

import asyncio
import json
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundle_world import BundleWorld, made, publish
from recray.bench.processes import MARK
from recray.cli.app import app
from recray.simulation import wrk
from recray.stores.embedded import EmbeddedStore

CONTESTANTS = ("monolith", "monolith_tuned")
SHORT = ("--seconds", "1", "--rounds", "1", "--connections", "4")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    """A home with a champion, whose profiles are published to its store."""
    world = made(tmp_path_factory, "bench")

    with EmbeddedStore.start(world.settings.home) as store:
        asyncio.run(publish(world, store.url))
    return world


def marked(folder: Path) -> list[str]:
    """Processes on this machine that some contestant started whose settings lie under a folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            told = environ.read_bytes()
        except OSError:
            continue
        found += [environ.parent.name] if f"{MARK}=".encode() in told and bytes(folder) in told else []
    return found


def test_peers_are_measured(published: BundleWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "serve.json"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # The slate's deadline is a replica's; on a busy machine the check that nothing degrades is not about speed.
    settings = tmp_path / "settings.yaml"
    settings.write_text("serving: {budgets: {features_ms: 9e3, candidates_ms: 9e3, rank_ms: 9e3}}\nstore: {timeout_s: 5}\n")
    command = ["bench", "serve", "--home", str(published.settings.home), *SHORT]
    ran = CliRunner().invoke(app, [*command, "--endpoint", "flat", "--contestants", ",".join(CONTESTANTS), "--settings",
                                   str(settings), "--json", str(out)])  # fmt: skip
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text())
    for name in CONTESTANTS:
        one = found[name]
        assert one["requests_per_s"] > 0
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert 0.1 < one["cpu_ms_per_request"] < 1_000
        assert (one["errors"], one["degraded"]) == (0, 0)
    ratio = found["monolith_tuned"]["requests_per_s"] / found["monolith"]["requests_per_s"]
    assert found["ratios"]["requests_per_s"]["monolith_tuned/monolith"] == pytest.approx(ratio, abs=0.001)
    assert found["overlap_at_20"]["monolith_tuned"] >= 0.9
    assert found["ranker"] == "deep"
    assert found["catalogue"] == published.bundle.items.n
    assert 20 <= found["candidates"] <= found["catalogue"]
    assert found["profiles"] == len(published.states)
    assert (found["endpoint"], found["response_cache"], found["data"]) == ("flat", False, "world")
    assert {"machine", "commit", "date", "load_tool", "request"} <= found.keys()
    assert [sorted(measured) for measured in found["rounds"]] == [sorted(CONTESTANTS)]
    assert marked(tmp_path) == []


def test_homepages_are_measured_and_apart_from_them_what_full_caches_save(published: BundleWorld, tmp_path: Path) -> None:
    out, settings = tmp_path / "serve.json", tmp_path / "settings.yaml"
    settings.write_text(
        "store: {timeout_s: 5}\nserving:\n  response_cache: true\n"
        "  budgets: {features_ms: 9e3, candidates_ms: 9e3, rank_ms: 9e3}\n"
    )
    command = ["bench", "serve", "--home", str(published.settings.home), *SHORT, "--endpoint", "homepage", "--cached"]
    ran = CliRunner().invoke(
        app, [*command, "--contestants", ",".join(CONTESTANTS), "--settings", str(settings), "--json", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text())
    assert (found["endpoint"], found["response_cache"]) == ("homepage", False)
    assert found["overlap"]["monolith_tuned"] >= 0.9
    cached = found["cached"]
    assert (cached["off"]["reused"], cached["on"]["reused"]) == (0.0, 1.0)
    assert cached["on"]["errors"] == 0
    assert cached["on/off"]["cpu_ms_per_request"] < 1


def test_an_unknown_endpoint_is_refused(published: BundleWorld) -> None:
    command = ["bench", "serve", "--home", str(published.settings.home), "--endpoint", "search", "--contestants", "monolith"]
    ran = CliRunner().invoke(app, command)
    assert "endpoint is 'search'; expected flat or homepage" in str(ran.exception)


@pytest.mark.skipif(not wrk.installed(), reason="wrk is not installed")
def test_wrk_is_what_the_closed_loop_uses_where_it_is_installed(published: BundleWorld, tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    command = ["bench", "serve", "--home", str(published.settings.home), *SHORT]
    ran = CliRunner().invoke(app, [*command, "--contestants", "monolith", "--json", str(out)])
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text())
    assert found["load_tool"] == {"closed_loop": "wrk", "open_loop": "own"}
    assert found["monolith"]["errors"] == 0

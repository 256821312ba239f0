"""`recray simulate load` over real sockets: against the application on a small bundle, and against servers that misbehave."""

import asyncio
import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from bundle_world import BundleWorld, made
from recray.cli.app import app
from recray.serving.auth import operator_only
from recray.serving.gateway import build_app
from recray.settings import TrafficSettings
from recray.simulation.audience import invented, placed, profiles_of
from recray.simulation.http_client import Target
from recray.simulation.load import Plan, drive
from recray.simulation.rate import parse
from recray.stores.lake import Lake

QUICK = TrafficSettings(think_s=0.1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return made(tmp_path_factory, "load")


@pytest.fixture(scope="module")
def url(world: BundleWorld) -> Iterator[str]:
    """The application in a thread of this process, over a store in memory."""
    store = asyncio.run(world.store())
    service = world.service(world.parts(store), store, limits=(1, 2), now_s=lambda: time.time_ns() // 1_000_000_000)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(build_app(service, operator_only(""), world.settings), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


@contextmanager
def answering(behaviour: Callable[[int], bytes]) -> Iterator[str]:
    """A server that answers its n-th request with these bytes, and hangs up when there are none."""
    number = iter(range(10**9))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline():
                length = 0
                while line := self.rfile.readline().strip():
                    name, _, value = line.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                self.rfile.read(length)
                if not (answer := behaviour(next(number))):
                    return
                self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(30)


def command(url: str, world: BundleWorld, *arguments: str, out: Path) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and JSON of the command."""
    settings = out.with_suffix(".yaml")
    settings.write_text("traffic: {think_s: 0.1, drain_s: 5}\n")
    given = ["simulate", "load", url, "--home", str(world.settings.home), "--settings", str(settings), "--json", str(out)]
    ran = CliRunner().invoke(app, [*given, *arguments])
    return ran.exit_code, ran.output, json.loads(out.read_text()) if out.exists() else {}


async def test_viewers_of_the_data_set_are_answered_and_their_feedback_is_accepted(world: BundleWorld, url: str) -> None:
    found = profiles_of(Lake(world.settings.lake_dir), "world", 1)
    viewers = placed([key for key, _ in found], [country for _, country in found], 1)
    traffic = await drive(Target.at(url), Plan(viewers, parse("15:4s", None), 1, uuid.uuid4().hex, QUICK))
    facts = traffic.facts()
    assert facts["failed"] == 0, facts["statuses"]
    assert facts["endpoints"].keys() == {"homepage", "post-watch", "search", "category", "feedback"}
    assert facts["feedback"]["accepted"] > 50
    assert facts["feedback"]["rejected"] == 0
    # A profile's two sessions at once may report the same title in the same second: one event to the store.
    assert facts["feedback"]["duplicates"] < 0.2 * facts["feedback"]["accepted"]
    assert facts["answered"] == facts["due"] > 20
    assert 0 < facts["p50_ms"] <= facts["p99_ms"] <= facts["max_ms"]


async def test_the_same_run_again_is_all_duplicates(url: str) -> None:
    run_id = uuid.uuid4().hex
    first, again = [
        (await drive(Target.at(url), Plan(invented(5, 1), parse("20:2s", None), 1, run_id, QUICK))).verdicts for _ in range(2)
    ]
    assert first["accepted"] > 10
    assert again["duplicate"] > 0


def test_the_command_shows_and_writes_what_it_met(world: BundleWorld, url: str, tmp_path: Path) -> None:
    code, output, found = command(url, world, "--rate", "5..20:3s,10:2s", "--data", "world", out=tmp_path / "load.json")
    assert code == 0, output
    assert found["failed"] == 0
    assert (found["mode"], found["rate"], found["data"]) == ("open", "5..20:3s,10:2s", "world")
    assert len(found["series"]) >= 5
    assert {"due", "answered", "p50_ms", "p99_ms", "errors"} <= found["series"][0].keys()
    assert {"lag_p99_ms", "cpu_share"} <= found["client"].keys()
    assert {"machine", "commit", "date", "traffic"} <= found.keys()
    assert "homepage" in output
    assert "events accepted" in output


def test_the_peak_is_measured_over_the_same_pages(world: BundleWorld, url: str, tmp_path: Path) -> None:
    code, output, found = command(url, world, "--closed", "--seconds", "1", "--connections", "4", out=tmp_path / "peak.json")
    assert code == 0, output
    assert found["requests_per_s"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert (found["mode"], found["connections"], found["failed"]) == ("closed", 4, 0)


def test_a_failed_request_is_an_exit_code_unless_it_is_allowed(world: BundleWorld, tmp_path: Path) -> None:
    with answering(lambda number: b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n") as failing:
        code, output, found = command(failing, world, "--rate", "10:1s", out=tmp_path / "failing.json")
        assert (code, found["failed"]) == (1, sum(found["statuses"].values()))
        assert "requests failed" in output
        assert command(failing, world, "--rate", "10:1s", "--allow-failures", out=tmp_path / "allowed.json")[0] == 0


def test_a_server_that_is_full_fails_nothing(world: BundleWorld, tmp_path: Path) -> None:
    with answering(lambda number: b"HTTP/1.1 503 Full\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n") as full:
        code, _, found = command(full, world, "--rate", "10:2s", out=tmp_path / "full.json")
    assert (code, found["failed"], found["answered"]) == (0, 0, 0)
    assert found["fates"]["turned-away"] == found["due"] > 0


async def test_broken_connections_are_counted_and_the_next_request_connects_anew() -> None:
    body = b'{"recommendation_id": "r"}'
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with answering(lambda number: b"" if number % 4 == 3 else whole) as breaking:
        traffic = await drive(Target.at(breaking), Plan(invented(5, 1), parse("40:2s", None), 1, "run", QUICK))
    n_broken = traffic.statuses[0]
    assert n_broken == traffic.n_failed
    assert n_broken == pytest.approx(len(traffic.fate) / 4, abs=1)


async def test_nobody_listening_breaks_every_request(unused_port: int) -> None:
    traffic = await drive(Target("127.0.0.1", unused_port), Plan(invented(5, 1), parse("20:1s", None), 1, "run", QUICK))
    assert traffic.n_failed == len(traffic.fate) == traffic.statuses[0] > 0


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_another_machine_is_not_loaded(world: BundleWorld, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["simulate", "load", "http://192.0.2.1:80", "--json", str(tmp_path / "out.json")])
    assert "--allow-remote" in str(ran.exception)
    assert not (tmp_path / "out.json").exists()


def test_an_interrupt_ends_the_run_early_and_it_still_says_what_it_met(tmp_path: Path) -> None:
    body = b'{"recommendation_id": "r"}'
    whole, out = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body), tmp_path / "stopped.json"
    asked = threading.Event()

    def answer(number: int) -> bytes:
        if number > 20:
            asked.set()
        return whole

    with answering(answer) as url:
        command = [sys.executable, "-m", "recray.cli", "simulate", "load", url, "--rate", "20:10m", "--json", str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert asked.wait(120)
                process.send_signal(signal.SIGINT)
                assert process.wait(120) == 0
            finally:
                process.kill()
    found = json.loads(out.read_text())
    assert found["seconds"] < 300
    assert found["failed"] == 0

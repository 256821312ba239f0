"""`recray serve` as a person starts it, twice at once on one machine, fused and of a deployment per stage.

What both answer, and what listens, on which interfaces.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from bundle_world import BundleWorld, made, publish
from recray.bench.processes import MARK, members
from recray.serving.environment import free_ports
from recray.settings.reach import HAPROXY_PORTS, REPLICA_PORTS
from recray.stores.embedded import EmbeddedStore

PATIENCE_S = 400.0
_LISTENING = "0A"


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket: whose, and where."""

    process: str
    pid: int
    host: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        address = ip_address(self.host)
        mapped = getattr(address, "ipv4_mapped", None)
        return not (mapped or address).is_loopback


@dataclass(frozen=True)
class Served:
    """A running application: its URL, the mark by which its processes are known, and the store behind it."""

    url: str
    mark: str
    store: EmbeddedStore

    def get(self, page: str, **parameters: Any) -> httpx.Response:
        return httpx.get(f"{self.url}/api/v1/recommendations/{page}", params=parameters, timeout=60)

    def tell(self, **event: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/api/v1/recommendations/feedback", json=event, timeout=60)

    def listeners(self) -> list[Listener]:
        """Every TCP socket on which any of its processes listens."""
        return [
            Listener(_said(pid, "cmdline").split("\0")[0], pid, *where)
            for pid in members((), self.mark)
            for where in _sockets(pid)
        ]


def _said(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text(errors="replace")
    except OSError:
        return ""


def _links(pid: int) -> Iterator[str]:
    try:
        places = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for place in places:
        with contextlib.suppress(OSError):  # one that was closed since the listing must not hide the others
            yield os.readlink(place)


def _sockets(pid: int) -> Iterator[tuple[str, int]]:
    inodes = {found[1] for link in _links(pid) if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}
    for table in ("tcp", "tcp6"):
        for line in _said(pid, f"net/{table}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[9] in inodes:
                host, port = fields[1].split(":")
                words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
                yield str(ip_address(b"".join(words))), int(port, 16)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BundleWorld]:
    """The same one twice, each in a home of its own; the first is served by replicas that call each other."""
    return {topology: made(tmp_path_factory, topology) for topology in ("composed", "fused")}


@pytest.fixture(scope="module")
def both(worlds: dict[str, BundleWorld]) -> Iterator[list[Served]]:
    """Two applications on the same machine, each with a store of its own in which every profile was published."""
    ports = free_ports()
    with contextlib.ExitStack() as stores:
        running = []
        try:
            for topology, world in worlds.items():
                store = stores.enter_context(EmbeddedStore.start(world.settings.home))
                asyncio.run(publish(world, store.url))
                running.append(_start(topology, world, store, next(ports)))
            for served, process, log in running:
                _until_ready(served.url, process, log)
            yield [served for served, _, _ in running]
        finally:
            for _, process, _ in running:
                process.send_signal(signal.SIGINT)
            for served, process, _ in running:
                _end(process, served.mark)


def _start(
    topology: str, world: BundleWorld, store: EmbeddedStore, port: int
) -> tuple[Served, "subprocess.Popen[bytes]", Path]:
    home, mark = world.settings.home, uuid.uuid4().hex
    settings, log = home / "settings.json", home / "serve.log"
    # Without the cache and live counts: neither must be answered with what it kept, or with what was counted meanwhile.
    serving = {"budgets": world.settings.serving.budgets.model_dump(), "response_cache": False}
    settings.write_text(json.dumps({"serving": serving, "live": {"served": False}, "store": {"timeout_s": 2.0}}))
    # As in a person's terminal: nothing of what this test's own process was prepared with.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {MARK: mark, "RECRAY_SETTINGS": str(settings)}
    command = [sys.executable, "-m", "recray.cli", "serve", "--topology", topology, "--port", str(port), "--home", str(home)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    return Served(f"http://127.0.0.1:{port}", mark, store), process, log


def _until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in members((), mark):
        os.kill(pid, signal.SIGKILL)


def _until_answered(served: Served) -> None:
    """Waited for: who misses health checks on a busy machine is started anew, or passed over until it has met some."""
    deadline, said = time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < deadline:
        try:
            answer = served.get("homepage", user_id="u", profile_id="p")
        except httpx.HTTPError as problem:
            said = repr(problem)
        else:
            if answer.status_code == 200 and not answer.json()["degraded"]:
                return
            said = answer.text
        time.sleep(0.5)
    raise AssertionError(f"{served.url} did not answer: {said}")


def _asked(world: BundleWorld) -> list[tuple[str, dict[str, Any]]]:
    items = world.bundle.items
    return [
        ("homepage", {"num_rows": 6, "row_size": 8}),
        ("post-watch", {"num_recommendations": 8, "watched_content_id": items.content_ids[5]}),
        ("search", {"num_results": 8, "query": items.names[3].split()[0]}),
        ("category", {"num_recommendations": 8, "category": items.genre_names[0]}),
    ]


def _content(answer: httpx.Response) -> dict[str, Any]:
    """What does not depend on when it was answered: context features follow the clock, and scores in their last digits."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = {
        name: value for name, value in answer.json().items() if name not in {"recommendation_id", "took_ms"}
    }
    for item in [item for row in body.get("rows", []) for item in row["items"]] + body.get("recommendations", []):
        item["score"] = round(item["score"], 2)
    return body


def test_both_placements_of_the_stages_give_the_same_answers(both: list[Served], worlds: dict[str, BundleWorld]) -> None:
    for served in both:
        _until_answered(served)
    world = worlds["fused"]
    for key in list(world.states)[:3]:
        for page, parameters in _asked(world):
            one, two = (
                _content(served.get(page, user_id=key.user_id, profile_id=key.profile_id, **parameters)) for served in both
            )
            assert one["degraded"] == []
            assert one == two


@pytest.mark.parametrize("number", [0, 1])
def test_feedback_changes_the_next_answer(number: int, both: list[Served]) -> None:
    served, who = both[number], {"user_id": uuid.uuid4().hex, "profile_id": "main"}
    first = served.get("homepage", **who).json()["rows"][0]["items"][0]["content_id"]
    assert served.tell(**who, content_id=first, action="complete").status_code == 202
    after = served.get("homepage", **who).json()
    assert first not in [item["content_id"] for row in after["rows"] for item in row["items"]]
    assert after["profile"]["n_events"] == 1


@pytest.mark.parametrize("number", [0, 1])
def test_a_frozen_store_degrades_answers_and_fails_none(number: int, both: list[Served]) -> None:
    served, who = both[number], {"user_id": "viewer", "profile_id": "main"}
    os.kill(served.store.pid, signal.SIGSTOP)
    try:
        answers = [served.get("homepage", **who) for _ in range(3)]
        refused = served.tell(**who, content_id="x", action="play")
    finally:
        os.kill(served.store.pid, signal.SIGCONT)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert all("features" in answer.json()["degraded"] for answer in answers)
    assert all(item["maturity"] <= 7 for answer in answers for row in answer.json()["rows"] for item in row["items"])
    assert refused.status_code in {404, 503}
    _until_answered(served)


def test_two_applications_on_one_machine_answer_at_the_same_time(both: list[Served]) -> None:
    for served in both:
        _until_answered(served)


def test_whatever_listens_on_more_than_loopback_is_named_in_the_product(both: list[Served]) -> None:
    for served in both:
        _until_answered(served)
        listeners = served.listeners()
        assert {one.port for one in listeners} >= {int(served.url.rpartition(":")[2])}
        assert len(listeners) > 10
        unnamed = [one for one in listeners if one.is_open and not _named(one)]
        assert not unnamed


def test_two_applications_share_no_port_so_that_neither_answers_for_the_other(both: list[Served]) -> None:
    one, two = ({listener.port for listener in served.listeners()} for served in both)
    assert not one & two


def _named(listener: Listener) -> bool:
    if Path(listener.process).name == "haproxy":
        chosen = dict(line.partition("=")[::2] for line in _said(listener.pid, "environ").split("\0"))
        return str(listener.port) in {chosen[name] for name in HAPROXY_PORTS}
    return listener.process.startswith(REPLICA_PORTS[0])


def _between_replicas(served: Served) -> set[int]:
    """Waited for: replicas that a busy machine took for dead are on their way back."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        listeners = served.listeners()
        if ports := {one.port for one in listeners if one.is_open and one.process.startswith(REPLICA_PORTS[0])}:
            return ports
        assert time.monotonic() < deadline, listeners
        time.sleep(0.5)


def test_a_port_between_replicas_refuses_whoever_has_no_token(both: list[Served]) -> None:
    for port in _between_replicas(both[0]):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=30)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED

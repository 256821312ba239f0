"""One application for the whole folder, made by the very command a newcomer types: import, train, publish, serve."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

_PATIENCE_S = 540


@dataclass(frozen=True)
class Served:
    """A running application, its home directory, and the page that the demo printed."""

    url: str
    home: Path
    data: str
    page: dict[str, Any]
    environment: dict[str, str]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/api/v1", timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started(process: subprocess.Popen[bytes], log: Path, ready: Path) -> None:
    """Wait until a command has written its result, or say why it did not."""
    deadline = time.monotonic() + _PATIENCE_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the application did not come up (exit {process.poll()}):\n{log.read_text()[-4000:]}")
        time.sleep(0.5)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a command as a person would and wait; insist only if it does not listen."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Served]:
    """The demo on ml-100k, small; or on the synthetic world where that set is not at hand, whole: what a newcomer gets."""
    home = tmp_path_factory.mktemp("home")
    data = "ml-100k" if (data_dir / "ml-100k.zip").exists() else "world"
    port = free_port()
    settings = home / "patient.yaml"  # what is tested is what answers say, not how fast a busy machine gives them
    settings.write_text("serving: {budgets: {features_ms: 9e3, candidates_ms: 9e3, rank_ms: 9e3}}\n")
    # As in a person's terminal: nothing of what other tests of this process prepared for a Ray of their own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RECRAY_SETTINGS": str(settings),
        "RECRAY_HOME": str(home),
        "RECRAY_SCALE": "laptop" if data == "world" else "smoke",
        "RECRAY_PORT": str(port),
        "RECRAY_DATA_DIR": str(data_dir),
    }
    log, result = home / "demo.log", home / "page.json"
    command = [sys.executable, "-m", "recray.cli", "demo", "--data", data, "--json", str(result)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        started(process, log, result)
        yield Served(f"http://127.0.0.1:{port}", home, data, json.loads(result.read_text()), environment)
    finally:
        ended(process)

"""Viewers against the running application: nothing fails, and what they report is accepted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_a_light_load_fails_nothing_and_its_feedback_is_accepted(served: Any, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    command = [sys.executable, "-m", "recray.cli", "simulate", "load", served.url, "--data", served.data]
    ran = subprocess.run(
        [*command, "--rate", "4:12s", "--json", str(out)],
        env=served.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(out.read_text())
    assert found["failed"] == 0
    assert found["answered"] + found["fates"]["turned-away"] == found["due"] > 10
    assert found["feedback"]["accepted"] > 20
    assert found["feedback"]["rejected"] == 0

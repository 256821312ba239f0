"""Closed-loop load by wrk, where it is installed: written in C, it takes less of the servers' processor than own code."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

import msgspec

from recray.errors import DataError

_SCRIPT: Final = """\
local paths, at, threads = {}, 0, {}
function setup(thread) table.insert(threads, thread) end
function init(args)
  degraded, answered = 0, 0
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
end
function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
function response(status, headers, body)
  if status == 200 then answered = answered + 1 end
  if body:find('"degraded":["', 1, true) then degraded = degraded + 1 end
end
function done(summary, latency, requests)
  local degraded, answered = 0, 0
  for _, thread in ipairs(threads) do
    degraded, answered = degraded + thread:get("degraded"), answered + thread:get("answered")
  end
  local e = summary.errors
  io.write(string.format(
    '\\n{"answered":%d,"errors":%d,"degraded":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f}\\n', answered,
    summary.requests - answered + e.connect + e.read + e.write + e.timeout, degraded, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
_TIMEOUT_S: Final = 30


def installed() -> bool:
    """Whether wrk can be found on the path."""
    return shutil.which("wrk") is not None


def run(url: str, paths: Sequence[str], connections: int, seconds: float) -> dict[str, Any]:
    """Answered, errors, degraded, seconds, p50_ms, p99_ms of one thread with many connections; whole seconds only.

    Raises:
        DataError: wrk failed; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        script, listed = Path(folder) / "paths.lua", Path(folder) / "paths.txt"
        script.write_text(_SCRIPT)
        listed.write_text("\n".join(paths) + "\n")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{ceil(seconds)}s", f"--timeout={_TIMEOUT_S}s", "-s", str(script), url]
        ran = subprocess.run(
            [*command, "--", str(listed)], capture_output=True, text=True, check=False, timeout=seconds + 2 * _TIMEOUT_S
        )
    last = ran.stdout.strip().rpartition("\n")[2]
    if ran.returncode or not last.startswith("{"):
        raise DataError(f"wrk gave {(ran.stderr or ran.stdout)[-300:]!r}; expected its summary: check that {url} answers")
    facts: dict[str, Any] = msgspec.json.decode(last)
    return facts

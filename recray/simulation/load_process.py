"""Load from a process of its own, so that whoever shows it takes no time from it: a job on stdin, lines of JSON on stdout.

    python -m recray.simulation.load_process < job.json

Each line is an object with one name: `now`, the last seconds of a run under way, or `result`, at its end. SIGINT ends an open
loop early; what is under way is still waited for.
"""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from recray.errors import RecrayError
from recray.schema import ProfileKey
from recray.settings import TrafficSettings
from recray.simulation.audience import Viewer
from recray.simulation.http_client import Target
from recray.simulation.load import Plan, drive
from recray.simulation.peak import peak
from recray.simulation.rate import Rate
from recray.simulation.sessions import Crowd, requests_per_session


class Job(msgspec.Struct, kw_only=True):
    """What to load, and with whom: `viewers` are user, profile, region. `connections` is the closed loop's."""

    kind: Literal["open", "closed"]
    host: str
    port: int
    viewers: list[tuple[str, str, str | None]]
    rate: Rate
    seed: int
    run_id: str
    settings: dict[str, Any]
    connections: int


CLOSED_CONNECTIONS: Final = 32
Say = Callable[[dict[str, Any]], None]


async def run(job: Job, say: Say) -> dict[str, Any]:
    """The figures of a job; `say` is called while it runs."""
    settings = TrafficSettings.model_validate(job.settings)
    target = Target(job.host, job.port)
    viewers = [Viewer(ProfileKey(user_id, profile_id), region) for user_id, profile_id, region in job.viewers]
    if job.kind == "closed":
        return await peak(target, Crowd(viewers, settings, job.seed, job.run_id), job.connections, job.rate.seconds)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    traffic = await drive(target, Plan(viewers, job.rate, job.seed, job.run_id, settings), lambda now: say({"now": now}), stop)
    facts = traffic.facts()
    facts["sessions"]["requests_each"] = round(requests_per_session(settings), 3)
    facts["client"]["cpu_share"] = round((time.process_time() - began_cpu_s) / (time.perf_counter() - began_s), 3)
    return facts


def _say(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the job that stdin holds."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    gc.freeze()  # collections that look through every imported module would stop the loop for tens of milliseconds
    try:
        # Not uvloop: its clock stands still within an iteration and counts whole milliseconds.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            _say({"result": runner.run(run(job, _say))})
    except RecrayError as error:
        _say({"error": str(error)})


if __name__ == "__main__":
    main()

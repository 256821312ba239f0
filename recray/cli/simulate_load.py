"""`recray simulate load`: viewers at a rate, or the peak; runs the load in a process of its own and shows it."""

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, errors, settings_from, write_json
from recray.cli.load_view import View, show_peak, show_result
from recray.errors import RecrayError, StoreError
from recray.settings import Settings
from recray.settings.provenance import provenance

if TYPE_CHECKING:
    from recray.simulation.load_process import Job

_SECONDS = 30.0
_PATIENCE_S = 30.0


def register_load(group: typer.Typer) -> None:
    """Add `load` to the group of simulations."""

    @group.command()
    def load(
        url: Annotated[str | None, typer.Argument(help="Where recray serves; default: the settings' port.")] = None,
        rate: Annotated[str, typer.Option(help="Requests per s: 50, a ramp 10..200, or steps 50:30s,200:1m.")] = "20",
        seconds: Annotated[float | None, typer.Option(help="Length; default: that of the steps, otherwise 30.")] = None,
        data: Annotated[str | None, typer.Option(help="Profiles of this data set of the lake ask.")] = None,
        users: Annotated[int, typer.Option(help="Without --data: so many users that nobody knows.")] = 1_000,
        closed: Annotated[bool, typer.Option("--closed", help="Measure the peak instead: ask again at once.")] = False,
        connections: Annotated[int | None, typer.Option(help="Keep-alive connections; default: 32 closed, 128 open.")] = None,
        seed: Annotated[int | None, typer.Option(help="What is drawn; default: the settings' seed.")] = None,
        allow_failures: Annotated[bool, typer.Option("--allow-failures", help="Exit with 0 whatever failed.")] = False,
        allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Load another machine than this.")] = False,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Load a service with viewers; exit code 1 if a request failed (503 with Retry-After is no failure)."""
        from recray.simulation.http_client import Target
        from recray.simulation.rate import parse

        chosen = settings_from(settings, home, traffic=_traffic(connections, closed))
        target = Target.at(url or f"http://{chosen.serving.host}:{chosen.serving.port}", allow_remote=allow_remote)
        shape = parse(rate, seconds if seconds is not None or ":" in rate else _SECONDS)
        drawn_from = chosen.training.seed if seed is None else seed
        job = _job(chosen, (target.host, target.port), shape, (data, users), drawn_from)
        job.kind, job.connections = ("closed" if closed else "open"), connections or job.connections
        at = datetime.now(UTC)
        console.print(f"[bold]{_what(closed, rate, shape.seconds)}[/] to {target.url}, {len(job.viewers):,} viewers"
                      f"{f' of {data}' if data else ''}, seed {drawn_from}")  # fmt: skip
        found = _run(job)
        (show_peak if closed else show_result)(found)
        if json is not None:
            asked = {
                "target": target.url,
                "mode": job.kind,
                "rate": None if closed else rate,
                "data": data,
                "viewers": len(job.viewers),
                "seed": drawn_from,
                "run_id": job.run_id,
                "traffic": job.settings,
            }
            about = provenance(at)
            write_json(json, asked | found | about)
        if found["failed"] and not allow_failures:
            errors.print(f"[bold red]{found['failed']:,} requests failed[/] (--allow-failures to exit with 0)")
            raise typer.Exit(1)


def _traffic(connections: int | None, closed: bool) -> dict[str, Any] | None:
    return {"connections": connections} if connections is not None and not closed else None


def _what(closed: bool, rate: str, seconds: float) -> str:
    return f"peak over {seconds:g} s" if closed else f"{rate} requests per s over {seconds:g} s"


def _job(settings: Settings, target: tuple[str, int], rate: Any, who: tuple[str | None, int], seed: int) -> "Job":
    from recray.simulation.audience import invented, placed, profiles_of
    from recray.simulation.load_process import CLOSED_CONNECTIONS, Job
    from recray.stores.lake import Lake

    data, n_users = who
    if data is None:
        viewers = invented(n_users, seed)
    else:
        found = profiles_of(Lake(settings.lake_dir), data, seed)
        viewers = placed([key for key, _ in found], [country for _, country in found], seed)
    return Job(
        kind="open",
        host=target[0],
        port=target[1],
        viewers=[(viewer.key.user_id, viewer.key.profile_id, viewer.region) for viewer in viewers],
        rate=rate,
        seed=seed,
        run_id=uuid.uuid4().hex[:12],
        settings=settings.traffic.model_dump(mode="json"),
        connections=CLOSED_CONNECTIONS,
    )


def _run(job: "Job") -> dict[str, Any]:
    """The result of a job, shown while it runs. The first interrupt ends the run early, the next one at once."""
    with _process(job) as lines, View(console) as view:
        for line in lines:
            if "now" in line:
                view.update(line["now"])
            elif "error" in line:
                raise StoreError(line["error"])
            else:
                found: dict[str, Any] = line["result"]
                return found
    raise RecrayError("the load ended without a result; what it printed above says why")


@contextmanager
def _process(job: "Job") -> Iterator[Iterator[dict[str, Any]]]:
    command = [sys.executable, "-m", "recray.simulation.load_process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield _lines(process, msgspec.json.encode(job))
        finally:
            if process.poll() is None:
                process.terminate()


def _lines(process: "subprocess.Popen[bytes]", job: bytes) -> Iterator[dict[str, Any]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(job)
    process.stdin.close()
    interrupted = False
    while True:
        try:
            line = process.stdout.readline()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            process.send_signal(signal.SIGINT)
            continue
        if not line:
            return
        yield msgspec.json.decode(line)

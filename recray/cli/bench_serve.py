"""`recray bench serve`: the application beside a plain process per core, on one machine and in one call."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.cli.store import store_of
from recray.settings.provenance import machine, provenance

_ALL = "fused,composed,monolith,monolith_tuned"


def register_serve(group: typer.Typer) -> None:
    """Add `serve` to the group of measurements."""

    @group.command()
    def serve(
        seconds: Annotated[float, typer.Option(help="Length of each run: one at the peak, one at 70 % of it.")] = 10.0,
        rounds: Annotated[int, typer.Option(help="How often each contestant is measured, in turn.")] = 3,
        connections: Annotated[int, typer.Option(help="Keep-alive connections of the load.")] = 32,
        endpoint: Annotated[str, typer.Option(help="flat: a list of 20; homepage: 10 rows of 20.")] = "flat",
        contestants: Annotated[str, typer.Option(help="Names separated by commas.")] = _ALL,
        cached: Annotated[bool, typer.Option(help="Afterwards, and apart: what full response caches save.")] = False,
        data: Annotated[str | None, typer.Option(help="Whose profiles ask; default: the champion's data set.")] = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Requests per second, latency and CPU per request of the champion, served in four ways."""
        from recray.bench.cached import gain
        from recray.bench.compare import Plan, compare
        from recray.bench.prepared import prepared

        chosen = settings_from(settings, home)
        named = tuple(name.strip() for name in contestants.split(","))
        plan = Plan(named, endpoint, seconds, rounds, connections, machine()["cores"], chosen.training.seed)
        at = datetime.now(UTC)
        with (
            tempfile.TemporaryDirectory(prefix="recray-bench-") as folder,
            store_of(chosen) as store_url,
            step(f"serve in {len(named)} ways to {connections} connections") as say,
            prepared(chosen, store_url, data, Path(folder)) as ready,
        ):
            say(f"{len(ready.keys):,} profiles of {ready.data} published beside bundle {ready.bundle_id}")
            measured = compare(ready, plan, say)
            if cached:
                measured["cached"] = gain(ready, plan, say)
        show(measured, named)
        write_json(json, measured | provenance(at))


def show(measured: dict[str, Any], named: tuple[str, ...]) -> None:
    """One line per contestant, and ratios: what another machine would show too."""
    console.print(
        f"{measured['candidates']} candidates of {measured['catalogue']:,} titles, ranker {measured['ranker']}, "
        f"no response cache: GET {measured['request']}"
    )
    table = Table("", "per s", "p50 ms", "p99 ms", "CPU ms", "errors", "degraded", box=None, padding=(0, 1))
    for name in named:
        one = measured[name]
        figures = (f"{one['requests_per_s']:,.0f}", *(_figure(one[f]) for f in ("p50_ms", "p99_ms", "cpu_ms_per_request")))
        table.add_row(name, *figures, f"{one['errors']:,}", f"{one['degraded']:,}")
    console.print(table)
    for figure in ("requests_per_s", "cpu_ms_per_request"):
        found = measured["ratios"][figure]
        if found:
            console.print(f"[dim]{figure}: {', '.join(f'{pair} {value:.2f}' for pair, value in found.items())}[/]")

    if "cached" in measured:
        one = measured["cached"]
        ratio, reused = one["on/off"]["cpu_ms_per_request"], one["on"]["reused"]
        console.print(
            f"apart: {one['contestant']} with response caches takes {ratio:.2f} of the CPU per request when "
            f"{reused:.0%} of its answers were made before"
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

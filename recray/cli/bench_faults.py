"""`recray bench faults`: parts of the served champion are killed and frozen under load, and it is asked for too much."""

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.cli.store import store_of
from recray.settings.provenance import provenance

if TYPE_CHECKING:
    from recray.bench.faults import Say, Served

_SHARE = 0.3
_PEAK_S = 5.0


def register_faults(group: typer.Typer) -> None:
    """Add `faults` to the group of measurements."""

    @group.command()
    def faults(
        topology: Annotated[str, typer.Option(help="fused, composed, or both separated by a comma.")] = "fused,composed",
        only: Annotated[str, typer.Option(help="Names of faults separated by commas; default: all.")] = "",
        rate: Annotated[float | None, typer.Option(help="Requests per s; default: 0.3 of the measured peak.")] = None,
        before: Annotated[float, typer.Option(help="Seconds of steady load before each fault.")] = 3.0,
        most: Annotated[float, typer.Option(help="Longest wait in s for answers to be whole again.")] = 40.0,
        after: Annotated[float, typer.Option(help="Seconds of load after that.")] = 3.0,
        overload: Annotated[float, typer.Option(help="Seconds at the peak, and at twice its rate; 0 to leave out.")] = 10.0,
        data: Annotated[str | None, typer.Option(help="Whose profiles ask; default: the champion's data set.")] = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """What viewers get while a part is killed or frozen, and past capacity; exit code 1 if an event was lost."""
        from recray.bench.faults import Plan, faults_of, measure, serving
        from recray.bench.prepared import prepared

        chosen = settings_from(settings, home)
        asked = tuple(name.strip() for name in topology.split(","))
        names = tuple(name.strip() for name in only.split(",") if name.strip())
        wanted = {one: faults_of(one, names) for one in asked}
        at = datetime.now(UTC)
        found: dict[str, Any] = {}
        with (
            tempfile.TemporaryDirectory(prefix="recray-faults-") as folder,
            store_of(chosen) as store_url,
            step(f"{sum(map(len, wanted.values()))} faults under load") as say,
            prepared(chosen, store_url, data, Path(folder)) as ready,
        ):
            for one, faults in wanted.items():
                with serving(one, ready) as ours:
                    found[one] = asyncio.run(_capacity(ours, rate, overload, say))
                    plan = Plan(found[one]["rate_per_s"], before, most, after, chosen.training.seed)
                    found[one]["faults"] = asyncio.run(measure(ours, faults, plan, say))
        show(found)
        write_json(json, found | provenance(at))
        lost = sum(fault["lost"] for one in found.values() for fault in one["faults"].values())
        if lost:
            console.print(f"[bold red]{lost:,} acknowledged events are lost[/]")
            raise typer.Exit(1)


async def _capacity(ours: "Served", rate: float | None, seconds: float, say: "Say") -> dict[str, Any]:
    """The rate of the load, and what it was taken from; figures past capacity if seconds are given for it."""
    from recray.bench.faults import whole
    from recray.bench.overload import overload, peak

    await whole(ours)
    prepared, found = ours.prepared, {}
    paths = prepared.paths("homepage")
    if seconds > 0:
        feedback = (prepared.keys, prepared.content_id)
        found["overload"] = one = await overload(ours.target, paths, feedback, seconds, prepared.settings.training.seed)
        found["peak"] = one["peak"]
        say(f"at twice the peak: goodput {one['goodput/peak']:.2f} of it, {one['refused_share']:.0%} refused")
    elif rate is None:
        found["peak"] = await peak(ours.target, paths, _PEAK_S)
    return found | {"rate_per_s": round(rate or _SHARE * found["peak"]["requests_per_s"], 2)}


def show(found: dict[str, Any]) -> None:
    """A table of faults by topology, and a line about overload."""
    for topology, one in found.items():
        if "overload" in one:
            over = one["overload"]
            console.print(
                f"[bold]{topology}[/] at {over['factor']:g} times its peak of {over['peak']['requests_per_s']:,.0f}/s: goodput "
                f"{over['goodput/peak']:.2f} of the peak, p99 {over['p99_ms']} ms of what was let in "
                f"(peak {over['peak']['p99_ms']} ms), {over['refused_share']:.0%} refused within {over['refused_p99_ms']} ms "
                f"at p99, {over['failed']} failed, feedback {over['feedback_accepted']} of {over['feedback_sent']} accepted"
            )
        columns = ("requests", "failed", "degraded", "refused", "acknowledged", "lost")
        table = Table(f"{topology}, {one['rate_per_s']:g}/s", *columns, "whole after s", "p99 ms before, during, after",
                      box=None, padding=(0, 1))  # fmt: skip
        for name, fault in one["faults"].items():
            whole = "-" if fault["recovery_s"] is None else f"{fault['recovery_s']:.1f}"
            latencies = ", ".join(_rounded(fault[f"p99_ms_{phase}"]) for phase in ("before", "during", "after"))
            table.add_row(name, *(f"{fault[column]:,}" for column in columns), whole, latencies)
        console.print(table)


def _rounded(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.0f}"

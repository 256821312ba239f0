"""`recray bench freshness`: from a viewer's action to that viewer's recommendations, and every acknowledged event found."""

import asyncio
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.cli.store import store_of
from recray.settings.provenance import provenance

_MUST_BE_NONE = ("lost", "duplicated", "parity_mismatches")


def register_freshness(group: typer.Typer) -> None:
    """Add `freshness` to the group of measurements."""

    @group.command()
    def freshness(
        topology: Annotated[str, typer.Option(help="fused or composed.")] = "fused",
        seconds: Annotated[float, typer.Option(help="Length of each phase, the peak's included.")] = 30.0,
        events: Annotated[float, typer.Option(help="Events per s, open loop.")] = 100.0,
        sampled: Annotated[float, typer.Option(help="Share of the events that are followed until an answer shows them.")] = 0.1,
        pages: Annotated[float, typer.Option(help="Homepages per s beside them; 0: half of the measured peak.")] = 0.0,
        kills: Annotated[int, typer.Option(help="Parts killed after that: store, gateway, sink, then at random.")] = 3,
        cached: Annotated[bool, typer.Option(help="With response caches; the rest of the bench leaves them off.")] = False,
        most: Annotated[float, typer.Option(help="Longest wait in s for answers to be whole again.")] = 40.0,
        data: Annotated[str | None, typer.Option(help="Whose profiles ask; default: the champion's data set.")] = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """How soon an action changes recommendations; exit code 1 if an event was lost, doubled, or not what its state says."""
        from recray.bench.faults import faults_of, serving
        from recray.bench.freshness import Plan, measure
        from recray.bench.kept import reckoned, with_own_lake
        from recray.bench.prepared import prepared

        chosen = settings_from(settings, home)
        faults_of(topology)
        plan = Plan(seconds, events, sampled, pages, most, chosen.training.seed, kills)
        at = datetime.now(UTC)
        with (
            tempfile.TemporaryDirectory(prefix="recray-freshness-") as folder,
            store_of(chosen) as store_url,
            step(f"freshness ({topology})") as say,
            prepared(chosen, store_url, data, Path(folder)) as given,
        ):
            ready = replace(asyncio.run(with_own_lake(given)), response_cache=cached)
            with serving(topology, ready) as ours:
                found, ledger = asyncio.run(measure(ours, plan, say))
            found |= asyncio.run(reckoned(ready, ledger))
            about = {"topology": topology, "data": ready.data, "bundle": ready.bundle_id, "catalogue": ready.catalogue}
            found |= about | {"response_cache": cached, "seconds": seconds}
        show(found)
        write_json(json, found | provenance(at))
        if any(found[name] for name in _MUST_BE_NONE):
            raise typer.Exit(1)


def show(found: dict[str, Any]) -> None:
    """Latencies, then what became of the events."""
    span, events, pages, intake = (found[n] for n in ("event_to_recommendation_ms", "events", "recommendations", "intake"))
    table = Table(found["topology"], "per s", "requests", "failed", "refused", "p50 ms", "p99 ms", box=None, padding=(0, 1))
    seen = f"event to recommendation, {events['unseen']} unseen"
    table.add_row(seen, "", f"{events['sampled']:,}", "", "", _ms(span["p50"]), _ms(span["p99"]), style="bold")
    rates = (("events", events, events["rate_per_s"]), ("recommendations", pages, pages["rate_per_s"]),
             (f"events in batches of {intake['batch']}", intake, intake["events_per_s"]))  # fmt: skip
    for name, one, rate in rates:
        counts = (f"{one[column]:,}" for column in ("requests", "failed", "refused"))
        table.add_row(name, f"{rate:,.0f}", *counts, _ms(one["p50_ms"]), _ms(one["p99_ms"]))
    console.print(table)
    for name, fault in found["faults"].items():
        whole = "not whole again" if fault["recovery_s"] is None else f"whole after {fault['recovery_s']:.1f} s"
        console.print(f"{name}: {fault['requests']:,} requests, {fault['failed']} failed, {fault['refused']} refused, {whole}")
    style = "bold red" if any(found[name] for name in _MUST_BE_NONE) else "bold green"
    console.print(
        f"[{style}]{found['acknowledged']:,} events acknowledged, {found['lost']:,} lost, {found['duplicated']:,} twice; "
        f"{found['parity_mismatches']:,} of {found['profiles']:,} profiles differ from the fold of the lake[/]"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

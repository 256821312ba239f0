"""`recray bench session`: what a state that knows every event is worth beside one of last night."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.cli.train import DataName, start_ray
from recray.settings.provenance import provenance


def register_session(group: typer.Typer) -> None:
    """Add `session` to the group of measurements."""

    @group.command()
    def session(
        data: DataName = "ml-1m",
        bundle: Annotated[str, typer.Option(help="A bundle's id, or an alias.")] = "champion",
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """NDCG of the next title, by model, with states as of the request and as of the midnight before it."""
        chosen = settings_from(settings, home, scale=scale)
        at = datetime.now(UTC)
        start_ray(chosen)
        from recray.training.session import within_session

        with step(f"every event against daily, {bundle} on {data}") as say:
            found = within_session(chosen, data, bundle, say)
        show(found)
        write_json(json, found | provenance(at))


def show(found: dict[str, Any]) -> None:
    """A line per model, best first, of all requests and of those by profiles that were there before."""
    console.print(
        f"{found['requests']:,} requests, {found['with_events_since_midnight']:,} of them after events of the same day; "
        f"{found['returning']:,} by profiles that were there before it"
    )
    for group in ("requests", "returning"):
        table = Table(f"{found['metric']}, {group}", "every event", "daily", f"difference, {found['confidence']:.0%} between",
                      box=None, padding=(0, 1))  # fmt: skip
        known = {name: one[group] for name, one in found["models"].items() if one[group]}
        for name, one in sorted(known.items(), key=lambda entry: -entry[1]["every_event"]):
            style = "bold green" if name == found["chosen"] else ""
            table.add_row(name, f"{one['every_event']:.4f}", f"{one['daily']:.4f}", between(one["difference"]), style=style)
        console.print(table)


def between(gain: dict[str, float]) -> str:
    """A difference and its bounds in brackets."""
    return f"{gain['estimate']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"

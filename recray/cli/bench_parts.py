"""`recray bench parts`: where the time of one request goes."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.cli.store import store_of
from recray.settings.provenance import provenance


def register_parts(group: typer.Typer) -> None:
    """Add `parts` to the group of measurements."""

    @group.command()
    def parts(
        endpoint: Annotated[str, typer.Option(help="flat: a list of 20; homepage: 10 rows of 20.")] = "flat",
        batch: Annotated[int, typer.Option(help="Requests that are answered together.")] = 16,
        batches: Annotated[int, typer.Option(help="Batches that are measured.")] = 30,
        data: Annotated[str | None, typer.Option(help="Whose profiles ask; default: the champion's data set.")] = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """CPU of each part of a request in one thread, without HTTP and without Ray."""
        from recray.bench.parts import measure
        from recray.bench.prepared import prepared

        chosen = settings_from(settings, home)
        at = datetime.now(UTC)
        with (
            tempfile.TemporaryDirectory(prefix="recray-bench-") as folder,
            store_of(chosen) as store_url,
            step(f"{batches} batches of {batch}"),
            prepared(chosen, store_url, data, Path(folder)) as ready,
        ):
            measured = measure(ready, endpoint, batch, batches)
        table = Table("part", "CPU ms per request", box=None, padding=(0, 1))
        for name, ms in measured.items():
            table.add_row(name, f"{ms:.3f}", style="bold" if name == "total" else "")
        console.print(table)
        about = {"endpoint": endpoint, "batch": batch, "catalogue": ready.catalogue, "cpu_ms_per_request": measured}
        write_json(json, about | provenance(at))

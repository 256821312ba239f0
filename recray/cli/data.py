"""`recray import`: data sets into the lake."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, SettingsFile, cache_dir, console, settings_from, step, write_json
from recray.errors import ConfigError
from recray.settings import Settings

_DELIVERY_SEED = 20261122


def import_set(
    settings: Settings,
    name: str,
    from_path: Path | None = None,
    *,
    delivery: str | None = None,
    extra: bool = False,
    n_titles: int = 0,
) -> dict[str, Any]:
    """Bring a data set into the lake and show what came of it; returns the stored manifest.

    A catalogue smaller than `n_titles` is brought to that size by invented titles that nobody has watched.
    """
    from recray.data.ingest import ingest
    from recray.data.sources import read
    from recray.simulation.delivery import simulate
    from recray.simulation.world import padded
    from recray.stores.lake import Lake

    if delivery not in {None, "simulated"}:
        raise ConfigError(f"delivery is {delivery!r}; expected 'simulated', or leave it out to keep the real columns only")
    with step(f"import {name}") as say:
        raw = read(name, from_path, cache_dir(), extra=extra)
        say(f"read {raw.source}")
        if delivery:
            raw = simulate(raw, _DELIVERY_SEED)
            say(f"simulated {len(raw.simulated)} columns that {name} does not have")
        if n_titles:
            raw = padded(raw, n_titles, _DELIVERY_SEED)
        done = ingest(Lake(settings.lake_dir), from_path.name if name == "files" and from_path else name, raw, report=say)
    table = Table("table", "rows", "refused", box=None, padding=(0, 2))
    for part, rows in done.rows.items():
        refused = sum(n for reason, n in done.rejects.items() if reason.startswith(f"{part}."))
        table.add_row(part, f"{rows:,}", f"{refused:,}" if refused else "")
    console.print(table)
    return done.manifest


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command("import")
    def import_(
        name: Annotated[str, typer.Argument(help="A set of datasets/README.md, for instance ml-100k; or files.")],
        directory: Annotated[Path | None, typer.Argument(help="With 'files': the directory of your tables.")] = None,
        from_path: Annotated[Path | None, typer.Option("--from", help="The archive, or its unpacked directory.")] = None,
        delivery: Annotated[str | None, typer.Option(help="'simulated' adds regions, devices, maturity, progress.")] = None,
        extra: Annotated[bool, typer.Option(help="ml-1m: join plots, certificates and cast from the cache.")] = False,
        pad_to: Annotated[int, typer.Option(help="Invent titles that nobody watched until there are this many.")] = 0,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Bring a data set into the lake: its own archive, the cache, its publisher, or your own files."""
        chosen, path = settings_from(settings, home), from_path or directory
        write_json(json, import_set(chosen, name, path, delivery=delivery, extra=extra, n_titles=pad_to))

"""`recray demo`: from raw ratings to a served, explained homepage in one command."""

from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.panel import Panel
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.cli.data import import_set
from recray.cli.serve import served, until_interrupted
from recray.cli.train import train_set
from recray.errors import DataError
from recray.settings import Settings

if TYPE_CHECKING:
    from recray.stores.registry import Registry

_ROWS, _SHOWN = 7, 5
_WAIT_S = 30.0
_WORLD = "world"


def obtain(settings: Settings, data: str) -> str:
    """Make sure the lake has a data set; the synthetic world when no place has it. Returns the set's name."""
    from recray.stores.lake import Lake

    lake = Lake(settings.lake_dir)
    if data in lake.names():
        console.print(f"[green]✓[/] [bold]{data}[/] is in the lake already")
        return data
    if data != _WORLD:
        try:
            import_set(settings, data, delivery="simulated")
        except DataError as problem:
            console.print(f"[yellow]{problem}[/]\n[yellow]going on with the synthetic world instead[/]")
        else:
            return data
    from recray.data.ingest import ingest
    from recray.simulation.world import WorldSettings, build

    with step("simulate world") as say:
        ingest(lake, _WORLD, build(WorldSettings()), report=say)
    return _WORLD


def show(page: dict[str, Any]) -> None:
    """One homepage as a person would like to see it."""
    for row in page["rows"][:_ROWS]:
        table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
        for item in row["items"][:_SHOWN]:
            year = f" [dim]({item['year']})[/]" if item["year"] else ""
            genres = ", ".join(item["genres"][:3])
            table.add_row(f"{item['position'] + 1}.", f"[bold]{item['name']}[/]{year}", f"[dim]{genres}[/]",
                          f"[cyan]{item['reason']}[/]")  # fmt: skip
        console.print(Panel(table, title=f"[bold]{row['title']}[/]", subtitle=f"[dim]{row['reason']}[/]", title_align="left",
                            subtitle_align="right", border_style="magenta"))  # fmt: skip
    console.print(f"[dim]{page['algorithm_version']}, answered in {page['took_ms']['total']:.1f} ms"
                  f"{', degraded: ' + ', '.join(page['degraded']) if page['degraded'] else ''}[/]")  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command()
    def demo(
        data: Annotated[str, typer.Option(help="Data set, or world for a synthetic one.")] = "ml-100k",
        exit_: Annotated[bool, typer.Option("--exit", help="Stop after printing the homepage.")] = False,
        again: Annotated[bool, typer.Option("--train", help="Train even if a champion for the data set is there.")] = False,
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Import, train, publish, serve, and show one profile's homepage; serves until interrupted."""
        chosen = settings_from(settings, home, scale=scale)
        name = obtain(chosen, data)
        from recray.stores.registry import Registry

        registry = Registry(chosen.registry_dir)
        if again or not _has_champion(registry, name):
            bundle_id = train_set(chosen, name, publish=True).bundle_id
            if registry.alias("champion") is None:
                raise DataError(
                    f"the gate refused bundle {bundle_id} (reasons above), and there is no champion to serve instead"
                )
        with served(chosen) as url:
            page = _homepage(url)
            show(page)
            who = page["asked"]
            console.print(f"\nviewer's page [bold]{url}/?user_id={who['user_id']}&profile_id={who['profile_id']}[/]   "
                          f"operator's page {url}/ops   API {url}/docs")  # fmt: skip
            write_json(json, page)
            if not exit_:
                console.print("[dim]press Ctrl-C to stop[/]")
                until_interrupted()


def _has_champion(registry: "Registry", data: str) -> bool:
    champion = registry.alias("champion")
    return champion is not None and registry.manifest(champion).get("data", {}).get("name") == data


def _homepage(url: str) -> dict[str, Any]:
    """The first sample profile's homepage, over HTTP as any client gets it."""
    with httpx.Client(base_url=url, timeout=_WAIT_S) as client:
        samples = client.get("/api/v1/profiles").raise_for_status().json()["profiles"]
        who = {name: samples[0][name] for name in ("user_id", "profile_id")}
        page = client.get("/api/v1/recommendations/homepage", params=who).raise_for_status().json()
    return {**page, "asked": who}

"""`recray simulate`: made-up worlds and made-up traffic, each command by the file that holds it."""

from pathlib import Path
from typing import Annotated

import typer

from recray.cli.console import Home, JsonFile, SettingsFile, settings_from, step, write_json
from recray.cli.simulate_load import register_load


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = typer.Typer(help="Make up a world, or load a service with viewers.", no_args_is_help=True)
    app.add_typer(group, name="simulate")
    register_load(group)

    @group.command()
    def world(
        world: Annotated[Path, typer.Argument(help="Settings of a synthetic world, as in datasets/worlds/.")],
        name: Annotated[str, typer.Option(help="Name of the data set in the lake.")] = "world",
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Make a synthetic world of titles, households and events, and bring it into the lake."""
        from recray.data.ingest import ingest
        from recray.simulation.world import build, load
        from recray.stores.lake import Lake

        chosen = settings_from(settings, home)
        with step(f"simulate {name}") as say:
            done = ingest(Lake(chosen.lake_dir), name, build(load(world)), report=say)
        write_json(json, done.manifest)

"""`recray store publish` and `recray store rollback`: folded states into the store, and back."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.settings import Settings

if TYPE_CHECKING:
    from recray.stores.lake import Lake

_Data = Annotated[str, typer.Option("--data", help="Name of the data set in the lake.")]


def register_publications(group: typer.Typer, store_of: Callable[[Settings], AbstractContextManager[str]]) -> None:
    """Add the commands of this file; `store_of` gives the URL of a command's store."""

    @group.command()
    def publish(data: _Data = "ml-100k", settings: SettingsFile = None, home: Home = None, json: JsonFile = None) -> None:
        """Fold a set's events into states and write them, or go on where that was interrupted; `recray train` publishes too."""
        chosen = settings_from(settings, home)
        from recray.stores.lake import Lake
        from recray.stores.publications import Publications

        lake = Lake(chosen.lake_dir)
        lake.manifest(data)  # a name that is not there is told before anything starts
        goes_on = not Publications(lake.root, data).applied().is_done
        with step(f"go on publishing {data}" if goes_on else f"publish {data}"), store_of(chosen) as url:
            n_written = _finished(chosen, lake, data, url) if goes_on else _published(chosen, lake, data, url)
        console.print(f"wrote {n_written:,} profiles")
        write_json(json, {"data": data, "written": n_written, "went_on": goes_on})

    @group.command()
    def rollback(data: _Data = "ml-100k", settings: SettingsFile = None, home: Home = None, json: JsonFile = None) -> None:
        """Write the publication before the current one again, with all that viewers did since."""
        from recray.data.publish import roll_back
        from recray.stores.connect import open_store
        from recray.stores.lake import Lake

        chosen = settings_from(settings, home)
        with step(f"roll {data} back"), store_of(chosen) as url:
            n_written = roll_back(Lake(chosen.lake_dir), data, open_store(chosen.store, url))
        console.print(f"wrote {n_written:,} profiles")
        write_json(json, {"data": data, "written": n_written})


def _finished(settings: Settings, lake: "Lake", data: str, url: str) -> int:
    from recray.data.publish import finish_publishing
    from recray.stores.connect import open_store

    return finish_publishing(lake, data, open_store(settings.store, url))


def _published(settings: Settings, lake: "Lake", data: str, url: str) -> int:
    from recray.cli.train import start_ray

    start_ray(settings)
    from recray.data.publish import publish
    from recray.stores.connect import open_store

    return publish(lake, data, open_store(settings.store, url), settings)

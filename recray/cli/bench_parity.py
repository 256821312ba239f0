"""`recray bench parity`: states as serving folds them beside states as training folds them, over a whole data set."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.cli.train import DataName
from recray.settings.provenance import provenance


def register_parity(group: typer.Typer) -> None:
    """Add `parity` to the group of measurements."""

    @group.command()
    def parity(
        data: DataName = "ml-1m",
        lists: Annotated[int, typer.Option(help="Random lists of events besides, through a store in memory.", min=0)] = 100_000,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Replay every event of a set online and offline and compare the states bit for bit; exit code 1 if any differs."""
        from recray.bench import parity as measured
        from recray.data.states import words_in
        from recray.stores.lake import Lake

        chosen = settings_from(settings, home)
        at = datetime.now(UTC)
        words = words_in(Lake(chosen.lake_dir), data)
        with step(f"replay {data} event by event") as say:
            found = measured.replayed(words, say)
        with step(f"{lists:,} random lists") as say:
            random = asyncio.run(measured.lists(lists, chosen.training.seed, say))
        n_wrong = found["mismatches"] + random["mismatches"]
        console.print(
            f"[bold {'red' if n_wrong else 'green'}]{found['mismatches']} of {found['profiles']:,} profiles differ over "
            f"{found['events']:,} events of {data}, {random['mismatches']} of {lists:,} random lists[/]"
        )
        write_json(json, {"data": data, "mismatches": n_wrong, "replayed": found, "random": random} | provenance(at))
        if n_wrong:
            raise typer.Exit(1)

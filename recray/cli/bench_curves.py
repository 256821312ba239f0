"""`recray bench curves`: what reranking for diversity or calibration costs in accuracy."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.settings.provenance import provenance

_COLUMNS = ("ndcg", "loss", "loss_interval", "miscalibration", "reduction", "diversity", "coverage")


def register_curves(group: typer.Typer) -> None:
    """Add `curves` to the group of measurements."""

    @group.command()
    def curves(
        data: Annotated[str, typer.Option("--data", help="Name of the data set in the lake.")] = "ml-1m",
        bundle: Annotated[str, typer.Option(help="A bundle's id, or an alias.")] = "champion",
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """NDCG against calibration, coverage and diversity of lists, for each way of reranking at each strength."""
        from recray.cli.train import start_ray

        chosen = settings_from(settings, home, scale=scale)
        start_ray(chosen)
        from recray.data.grouped import settings_of
        from recray.training.curves import curves as measured
        from recray.training.stored import replayed

        at = datetime.now(UTC)
        with step(f"curves of {bundle} on {data}") as say:
            there = replayed(chosen, data, bundle, say)
            facts = measured(there.bundle, there.moments, settings_of(there.history.profiles), chosen, say)
        show(facts)
        write_json(json, facts | {"data": data} | provenance(at))


def show(facts: dict[str, Any]) -> None:
    """A row for each point, over all requests."""
    table = Table("method", "strength", *_COLUMNS, box=None, padding=(0, 1))
    for point in facts["points"]:
        table.add_row(point["method"], f"{point['strength']:g}", *(f"{point['all'][column]:.4f}" for column in _COLUMNS))
    console.print(table)

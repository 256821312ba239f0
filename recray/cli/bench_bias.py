"""`recray bench bias`: what position bias costs rankers in a world whose truth is known."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.cli.train import start_ray
from recray.settings.provenance import provenance

_FIGURES = ("planted_ndcg", "planted_chance", "logged_ndcg", "weighed_ndcg")


def register_bias(group: typer.Typer) -> None:
    """Add `bias` to the group of measurements."""

    @group.command()
    def bias(
        world: Annotated[Path, typer.Argument(help="Settings of a synthetic world, as in datasets/worlds/.")],
        seeds: Annotated[
            int, typer.Option(help="Number of fits of each ranker, seeds counted up from the settings' seed.")
        ] = 3,
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Chances of a place to be looked at beside the planted ones, and rankers fitted with starts weighed by them or not."""
        chosen = settings_from(settings, home, scale=scale)
        at = datetime.now(UTC)
        start_ray(chosen)
        from recray.bench.bias import measure
        from recray.data.history import open_history
        from recray.data.ingest import ingest
        from recray.simulation.world import build, load, truth
        from recray.stores.lake import Lake

        lake, planted = Lake(chosen.lake_dir), load(world)
        with step(f"position bias in {world.stem}") as say:
            ingest(lake, world.stem, build(planted), report=say)
            first = chosen.training.seed
            found = measure(open_history(lake, world.stem, chosen), truth(planted), range(first, first + seeds), chosen, say)
        show(found)
        about = {"world": planted.model_dump(mode="json")}
        settled = chosen.model_dump(mode="json", include={"sources", "deep", "boosted", "examples", "training"})
        write_json(json, found | about | {"settings": settled} | provenance(at))


def show(found: dict[str, Any]) -> None:
    """Two tables: the chances of positions, and the rankers."""
    within = f"{found['confidence']:.0%} between"
    table = Table("position", "estimated", within, "planted", "looked at", box=None, padding=(0, 1))
    for one in found["chances"]:
        bounds = f"{one['low']:.3f} and {one['high']:.3f}"
        table.add_row(
            str(one["position"]), f"{one['estimated']:.3f}", bounds, f"{one['planted']:.3f}", f"{one['looked_at']:.3f}"
        )
    console.print(table)
    table = Table("ranker", "weights up to", *(name.replace("_", " ") for name in _FIGURES), "gain", within, box=None,
                  padding=(0, 1))  # fmt: skip
    for one in found["models"]:
        bounds = f"{one['low']:+.4f} and {one['high']:+.4f}"
        figures = (f"{one[name]:.4f}" for name in _FIGURES)
        table.add_row(one["ranker"], f"{one['most_start_weight']:g}", *figures, f"{one['gain']:+.4f}", bounds)
    console.print(table)

"""`recray bench curves`: what reranking, business weights and priorities cost in accuracy, and what they bring."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.settings.provenance import provenance


class Varied(StrEnum):
    """What the points of a curve differ in."""

    RERANKING = "reranking"
    WEIGHTS = "weights"


_COLUMNS: Final = {
    Varied.RERANKING: ("ndcg", "loss", "loss_interval", "miscalibration", "reduction", "diversity", "coverage"),
    Varied.WEIGHTS: (
        "ndcg",
        "starts",
        "completions",
        "dislikes",
        "watched_minutes",
        "value",
        "completion_rate",
        "dislike_rate",
        "coverage",
    ),
}


def register_curves(group: typer.Typer) -> None:
    """Add `curves` to the group of measurements."""

    @group.command()
    def curves(
        data: Annotated[str, typer.Option("--data", help="Name of the data set in the lake.")] = "ml-1m",
        bundle: Annotated[str, typer.Option(help="A bundle's id, or an alias.")] = "champion",
        vary: Annotated[Varied, typer.Option(help="How a set is chosen, or what scores are made of.")] = Varied.RERANKING,
        ranker: Annotated[str | None, typer.Option(help="Whose lists; default: of the ranker that training chose.")] = None,
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """NDCG against calibration, coverage and diversity for each way of reranking; or against what followed, by weights."""
        from recray.cli.train import start_ray

        chosen = settings_from(settings, home, scale=scale)
        start_ray(chosen)
        from recray.data.grouped import settings_of
        from recray.training.curves import curves as reranked
        from recray.training.stored import replayed
        from recray.training.weights import weighed

        at = datetime.now(UTC)
        with step(f"curves of {bundle} on {data}") as say:
            there = replayed(chosen, data, bundle, say)
            asked = there.bundle.ordered_by(ranker) if ranker else there.bundle
            measured = {Varied.RERANKING: reranked, Varied.WEIGHTS: weighed}[vary]
            facts = measured(asked, there.moments, settings_of(there.history.profiles), chosen, say)
        show(facts, vary)
        write_json(json, facts | {"data": data} | provenance(at))


def show(facts: dict[str, Any], vary: Varied) -> None:
    """A row for each point, over all requests."""
    table = Table("point", *_COLUMNS[vary], box=None, padding=(0, 1))
    for point in facts["points"]:
        figures = (f"{point['all'][column]:.4f}" for column in _COLUMNS[vary])
        table.add_row(_named(point) if vary is Varied.WEIGHTS else f"{point['method']} {point['strength']:g}", *figures)
    console.print(table)


def _named(point: dict[str, Any]) -> str:
    if point["group"]:
        return f"{point['varied']} {point['factor']:g}"
    return point["varied"] + "".join(f" {weight:g}" for name, weight in point["weights"].items() if name != "start")

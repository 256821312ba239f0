"""`recray bench quality`: figures on the tracks that papers publish on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.settings.provenance import provenance

if TYPE_CHECKING:
    import pyarrow as pa

_RATED = ("rmse", "mae")
_RANKED = ("ndcg@10", "hr@10", "hr@50", "coverage@10")


def register_quality(group: typer.Typer) -> None:
    """Add `quality` to the group of measurements."""

    @group.command()
    def quality(
        data: Annotated[str, typer.Option("--data", help="Name of the data set in the lake.")] = "ml-1m",
        track: Annotated[
            str, typer.Option(help="A, B, C or D to rank titles, F to predict ratings, N, P or T for what is new.")
        ] = "B",
        models: Annotated[str, typer.Option(help="Names separated by commas, or all.")] = "all",
        seeds: Annotated[int, typer.Option(help="Number of seeds, counted up from the settings' seed.")] = 1,
        tie_shuffles: Annotated[int, typer.Option(help="Runs with equal times of a profile in another order.")] = 0,
        epochs: Annotated[int | None, typer.Option(help="Most epochs of the sequence model.")] = None,
        topk: Annotated[Path | None, typer.Option(help="Write the first ten titles of every request as Parquet.")] = None,
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Fit models on a track of a data set, rank the whole catalogue, and say how well they did."""
        from recray.data.history import open_history
        from recray.stores.lake import Lake
        from recray.training.quality import Plan, measure

        chosen = settings_from(settings, home, scale=scale, sequence=None if epochs is None else {"epochs": epochs})
        named = () if models == "all" else tuple(name.strip() for name in models.split(","))
        plan = Plan(track.upper(), named, seeds, tie_shuffles)
        at = datetime.now(UTC)
        with step(f"track {plan.track} on {data}") as say:
            measured = measure(open_history(Lake(chosen.lake_dir), data, chosen), plan, chosen, say)
        facts = measured.facts | provenance(at)
        settled = chosen.model_dump(mode="json", include={"sources", "sequence", "training"})
        show(facts)
        if topk is not None:
            write_parquet(topk, measured.top)
        write_json(json, facts | {"settings": settled})


def show(facts: dict[str, Any]) -> None:
    """Counts of the track's data and a table of its models, best first; or why no model could be judged.

    Of several seeds the means are shown, with the deviation.
    """
    counts = facts["data"]
    console.print(
        f"{counts['users']:,} users, {counts['items']:,} titles, {counts['interactions']:,} interactions, "
        f"{counts['test_targets']:,} targets"
    )
    if not facts["models"]:
        console.print(f"no model is judged on track {facts['track']}: {next(iter(facts['not_judged'].values()))}")
        return
    rated = "rmse" in next(iter(facts["models"].values()))
    columns = _RATED if rated else _RANKED
    table = Table("model", *columns, "fit s", "ask s", box=None, padding=(0, 1))
    for name, one in sorted(facts["models"].items(), key=lambda entry: entry[1][columns[0]], reverse=not rated):
        spread = one.get("over_seeds")
        figures = (
            f"{spread['mean'][column]:.4f} +-{spread['deviation'][column]:.4f}" if spread else f"{one[column]:.4f}"
            for column in columns
        )
        table.add_row(name, *figures, f"{one['seconds']['fit']:.1f}", f"{one['seconds']['evaluate']:.1f}")
    console.print(table)


def write_parquet(path: Path, table: "pa.Table") -> None:
    """Write a table, whole or not at all."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    pq.write_table(table, aside, compression="zstd")
    aside.replace(path)

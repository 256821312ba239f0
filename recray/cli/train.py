"""`recray train` and `recray evaluate`."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.serving.environment import prepare
from recray.settings import Settings
from recray.settings.provenance import provenance

if TYPE_CHECKING:
    from recray.training.run import Outcome

_UNSHOWN = ("mrr", "precision")
DataName = Annotated[str, typer.Option("--data", help="Name of the data set in the lake.")]


def start_ray(settings: Settings) -> None:
    """A local Ray, or the cluster that RAY_ADDRESS names; does nothing when it runs."""
    prepare(os.environ)
    import ray

    if ray.is_initialized():
        return
    local: dict[str, Any] = {
        "num_cpus": settings.training.logical_cpus,
        "object_store_memory": settings.training.object_store_bytes,
        "include_dashboard": False,
    }
    import ray.data

    # Ray Data writes every operator's start and end to the terminal; its log file keeps them.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.ERROR)
    ray.init(log_to_driver=False, configure_logging=False, **({} if os.environ.get("RAY_ADDRESS") else local))


def train_set(settings: Settings, data: str, *, publish: bool) -> "Outcome":
    """Train on a set of the lake, show the figures, and publish to the settings' store."""
    start_ray(settings)
    from recray.cli.store import store_of, with_store
    from recray.stores.lake import Lake
    from recray.stores.privacy import carry_erasures
    from train_app import train

    with step(f"train on {data}") as say, store_of(settings) as url:
        from recray.stores.connect import open_store
        from recray.training import tracking

        with_store(settings, lambda held: carry_erasures(held, Lake(settings.lake_dir).sunk(data)))
        store = open_store(settings.store, url) if publish else None
        tracker = tracking.start(f"train-{data}", settings.model_dump(mode="json"), settings.home / "tracking", os.environ)
        try:
            outcome = train(settings, data, store, tracker, say, datetime.now(UTC))
        finally:
            tracker.finish()
    show_figures(outcome.judgement.facts()["metrics"], outcome.judgement.choice.chosen)
    verdict = outcome.judgement.verdict
    console.print(f"gate: [{'green]passed' if verdict.passed else 'yellow]not passed; the champion stays'}[/]")
    for reason in verdict.reasons:
        console.print(f"  {reason}")
    console.print(f"bundle [bold]{outcome.bundle_id}[/]")
    return outcome


def show_figures(metrics: dict[str, dict[str, float]], chosen: str | None = None) -> None:
    """A table of every model's figures, best first."""
    every = list(next(iter(metrics.values())))
    columns = [name for name in every if not name.startswith(_UNSHOWN)]
    table = Table("model", *columns, box=None, padding=(0, 1))
    for name, figures in sorted(metrics.items(), key=lambda entry: -entry[1][columns[0]]):
        style = "bold green" if name == chosen else ""
        table.add_row(name, *(f"{figures[column]:.3f}" for column in columns), style=style)
    console.print(table)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command()
    def train(
        data: DataName = "ml-100k",
        search: Annotated[Path | None, typer.Option(help="A space of tune_configs/: search instead of train.")] = None,
        scale: ScaleName = None,
        publish: Annotated[bool, typer.Option(help="Write profile states to the online store.")] = True,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Fit sources and rankers, judge them, write a bundle, and promote it if the gate agrees."""
        chosen = settings_from(settings, home, scale=scale)
        if search is not None:
            write_json(json, search_set(chosen, data, search))
            return
        outcome = train_set(chosen, data, publish=publish)
        write_json(json, {"bundle_id": outcome.bundle_id, **outcome.judgement.facts()})

    @app.command()
    def evaluate(
        data: DataName = "ml-100k",
        bundle: Annotated[str, typer.Option(help="A bundle's id, or an alias.")] = "champion",
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Judge a bundle on the last period of a data set: every source alone and every ranker's whole pipeline."""
        chosen = settings_from(settings, home, scale=scale)
        start_ray(chosen)
        from recray.training.stored import evaluate_stored

        with step(f"evaluate {bundle} on {data}") as say:
            figures = evaluate_stored(chosen, data, bundle, say)
        show_figures(figures)
        write_json(json, {"bundle": bundle, "data": data, "metrics": figures})


def search_set(settings: Settings, data: str, space: Path) -> dict[str, Any]:
    """Search a space on a data set, or go on with an interrupted search; shows and returns the best settings and all trials."""
    at = datetime.now(UTC)
    start_ray(settings)
    from recray.training.search import run_search
    from recray.training.stored import search_data

    with step(f"search {space.name} on {data}") as say:
        found = run_search(space, settings, search_data(settings, data, say), name=f"{data}-{space.stem}")
    console.print(f"best {found.value:.4f} with", found.best)
    console.print(f"[dim]{settings.home / 'sweeps' / f'{data}-{space.stem}'}: best.yaml is a settings file of differences[/]")
    facts = {"data": data, "space": space.read_text(), "best": found.best, "value": found.value, "trials": found.trials}
    settled = settings.model_dump(mode="json", include={"boosted", "deep", "sequence", "examples", "training"})
    return facts | {"settings": settled} | provenance(at)


def main() -> None:
    """`python train_app.py`: the train command alone."""
    app = typer.Typer(add_completion=False)
    register(app)
    command = typer.main.get_command(app)
    command.commands["train"]()  # type: ignore[attr-defined]  # a group, since two commands are registered

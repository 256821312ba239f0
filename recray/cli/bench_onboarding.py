"""`recray bench onboarding`: what it is worth to ask a new viewer for genres or titles."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from recray.cli.bench_session import between
from recray.cli.console import Home, JsonFile, ScaleName, SettingsFile, console, settings_from, step, write_json
from recray.cli.train import DataName
from recray.settings.provenance import provenance


def register_onboarding(group: typer.Typer) -> None:
    """Add `onboarding` to the group of measurements."""

    @group.command()
    def onboarding(
        data: DataName = "ml-1m",
        bundle: Annotated[str, typer.Option(help="A bundle's id, or an alias.")] = "champion",
        scale: ScaleName = None,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """NDCG of the next title, by model, for viewers of whom nothing, picked genres or liked titles are known."""
        chosen = settings_from(settings, home, scale=scale)
        at = datetime.now(UTC)
        from recray.training.onboarding import onboarding as measure

        with step(f"asking new viewers, {bundle} on {data}") as say:
            found = measure(chosen, data, bundle, say)
        show(found)
        write_json(json, found | provenance(at))


def show(found: dict[str, Any]) -> None:
    """For what was watched soon, and ever: a line per model, the best with titles liked first; a column per way of asking."""
    console.print(
        f"{found['viewers']:,} new viewers; {found['with_genres']:,} pick some genre, {found['with_titles']:,} like some title"
    )
    ways, metric, chosen = found["ways"], found["metric"], found["chosen"]
    for when in ("soon", "ever"):
        table = Table(f"{metric}, watched {when}, told", *ways, box=None, padding=(0, 1))
        for name in sorted(ways["titles"], key=lambda name: -ways["titles"][name][when][metric]):
            cells = [f"{by[name][when][metric]:.4f}" for by in ways.values()]
            table.add_row(name, *cells, style="bold green" if name == chosen else "")
        console.print(table)
        for way, by in ways.items():
            mine = by[chosen][when]
            console.print(
                f"{chosen}, told {way}: {between(mine['difference'])} against nothing told, "
                f"{between(mine['against_popular'])} against popular"
            )
    _show_watched(found)
    console.print(f"between at {found['confidence']:.0%} confidence, over the same viewers")


def _show_watched(found: dict[str, Any]) -> None:
    """A line per model, the best after most titles first; a column per number of titles watched before."""
    watched, metric, chosen = found["watched"], found["metric"], found["chosen"]
    table = Table(f"{metric} of the next title, watched", *watched, box=None, padding=(0, 1))
    last = watched[list(watched)[-1]]
    for name in sorted(last, key=lambda name: -last[name][metric]):
        cells = [f"{by[name][metric]:.4f}" for by in watched.values()]
        table.add_row(name, *cells, style="bold green" if name == chosen else "")
    console.print(table)
    for n, by in watched.items():
        console.print(f"{chosen}, after {n}: {between(by[chosen]['against_popular'])} against popular")

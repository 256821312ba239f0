"""`recray bundle` and `recray experiment`: what is served, and to whom."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, write_json
from recray.errors import ModelError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Bundles of the registry.", no_args_is_help=True)
    app.add_typer(group, name="bundle")

    @group.command("list")
    def list_(settings: SettingsFile = None, home: Home = None, json: JsonFile = None) -> None:
        """Bundles, newest first, with what names them and their headline figure."""
        from recray.stores.registry import ALIASES, Registry

        registry = Registry(settings_from(settings, home).registry_dir)
        named = {alias: registry.alias(alias) for alias in ALIASES}
        found = [{"id": one, "aliases": [a for a, i in named.items() if i == one], **registry.manifest(one)}
                 for one in reversed(registry.ids())]  # fmt: skip
        table = Table("bundle", "aliases", "data", "chosen", "gate", box=None, padding=(0, 2))
        for one in found:
            table.add_row(one["id"], ", ".join(one["aliases"]), one["data"]["name"], one["chosen"],
                          "passed" if one["gate"]["passed"] else "refused")  # fmt: skip
        console.print(table)
        write_json(json, found)

    @group.command()
    def promote(
        bundle_id: str,
        alias: Annotated[str, typer.Option(help="champion, or challenger: shadowed, or an arm")] = "champion",
        settings: SettingsFile = None,
        home: Home = None,
    ) -> None:
        """Let an alias name a bundle once it has answered on trial here; running replicas follow within their poll interval."""
        from recray.serving.shelf import BundleShelf
        from recray.serving.warm import warm

        resolved = settings_from(settings, home)
        from recray.stores.registry import Registry

        registry = Registry(resolved.registry_dir)
        chosen = registry.resolve(bundle_id)
        BundleShelf(registry, warm=lambda bundle: warm(bundle, resolved)).load(chosen)
        registry.point(alias, chosen, datetime.now(UTC))
        console.print(f"{alias} is now [bold]{chosen}[/]")

    @group.command()
    def rollback(settings: SettingsFile = None, home: Home = None) -> None:
        """Let champion name what it named before."""
        from recray.stores.registry import Registry

        registry = Registry(settings_from(settings, home).registry_dir)
        before = registry.previous("champion")
        if before is None:
            raise ModelError("champion never named another bundle; there is nothing to roll back to")
        registry.point("champion", before, datetime.now(UTC))
        console.print(f"champion is now [bold]{before}[/]")

    _experiments(app)


def _experiments(app: typer.Typer) -> None:
    @app.command()
    def experiment(
        user_id: Annotated[str | None, typer.Option(help="Show the arms that this user's profile meets.")] = None,
        profile_id: Annotated[str, typer.Option()] = "main",
        settings: SettingsFile = None,
        json: JsonFile = None,
    ) -> None:
        """Experiments of the settings' file, or the arms that one profile meets."""
        from recray.experiments.assign import Experiments
        from recray.schema import ProfileKey

        experiments = Experiments.load(settings_from(settings).experiments_file)
        if user_id is not None:
            met = experiments.assign_batch([ProfileKey(user_id, profile_id)])[0]
            result = {"arms": dict(met.arms), "bundle": met.bundle, "ranker": met.ranker, "slate": dict(met.slate)}
            console.print(result)
            write_json(json, result)
            return
        shown = [one.model_dump(mode="json") for one in experiments.all]
        console.print(shown)
        write_json(json, shown)

"""`recray explain`, `recray export`, `recray erase`: what is known about one profile or answer."""

from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, write_json
from recray.cli.store import with_store
from recray.errors import RequestError, StoreError
from recray.settings import Settings

if TYPE_CHECKING:
    from recray.schema import ProfileKey
    from recray.stores.lake import Lake


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command()
    def explain(
        recommendation_id: str,
        url: Annotated[str, typer.Option(help="Where recray serves.")] = "http://127.0.0.1:8000",
        json: JsonFile = None,
    ) -> None:
        """What each title of an answer scored, from which source, and what was dropped and why."""
        try:
            answer = httpx.get(f"{url}/api/v1/recommendations/{recommendation_id}/explain", timeout=30)
        except httpx.HTTPError as problem:
            raise StoreError(f"nothing answers at {url} ({problem}); start it with 'recray serve'") from problem
        body: dict[str, Any] = answer.json()
        if answer.status_code >= 400:
            raise RequestError(body["detail"])
        for item in body["items"]:
            found = ", ".join(f"{s['source']} #{s['rank']}" for s in item["sources"])
            console.print(f"{item['position']:3d}  [bold]{item['name']}[/]  {item['score']:.4f}  [dim]{found}[/]")
        for item in body["dropped"]:
            console.print(f"[dim]dropped {item['name']}: {', '.join(item['reasons'])}[/]")
        write_json(json, body)

    @app.command()
    def export(user_id: str, profile_id: str, settings: SettingsFile = None, home: Home = None, json: JsonFile = None) -> None:
        """Everything held about a profile: in the online store, and in the champion's data set."""
        from recray.stores.privacy import export_profile

        chosen = settings_from(settings, home)
        held = with_store(chosen, lambda store: export_profile(store, *_places(chosen), _key(user_id, profile_id)))
        console.print_json(data=held)
        write_json(json, held)

    @app.command()
    def erase(user_id: str, profile_id: str, settings: SettingsFile = None, home: Home = None, json: JsonFile = None) -> None:
        """Erase everything held about a profile; readers of the champion's data set see nothing more of it either."""
        from recray.stores.privacy import erase_profile

        chosen, key = settings_from(settings, home), _key(user_id, profile_id)
        erased = with_store(chosen, lambda store: erase_profile(store, *_places(chosen), key))
        console.print(f"erased {key}: {erased}")
        write_json(json, erased)


def _key(user_id: str, profile_id: str) -> "ProfileKey":
    from recray.schema import ProfileKey

    return ProfileKey(user_id, profile_id)


def _places(settings: Settings) -> "tuple[Lake, str]":
    """Where else a profile's events lie: the lake, and the champion's data set in it."""
    from recray.serving.sink_of_champion import champions_data
    from recray.stores.lake import Lake
    from recray.stores.registry import Registry

    return Lake(settings.lake_dir), champions_data(Registry(settings.registry_dir))

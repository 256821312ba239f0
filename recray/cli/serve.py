"""`recray serve`: the application until interrupted."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from recray.cli.console import Home, SettingsFile, console, settings_from, step
from recray.cli.store import store_of
from recray.serving.environment import prepare
from recray.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The running application's URL; everything that was started for it ends with it."""
    prepare(os.environ)
    with store_of(settings) as store_url:
        from recray.serving.compose import launch, shut_down

        with step(f"serve ({settings.serving.topology})"):
            url = launch(settings.model_copy(update={"store": settings.store.model_copy(update={"url": store_url})}))
        try:
            yield url
        finally:
            shut_down()


def until_interrupted() -> None:
    """Block until SIGINT or SIGTERM."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command()
    def serve(
        topology: Annotated[str | None, typer.Option(help="fused: one deployment; composed: one per stage.")] = None,
        port: Annotated[int | None, typer.Option(help="HTTP port.")] = None,
        settings: SettingsFile = None,
        home: Home = None,
    ) -> None:
        """Serve the champion over HTTP until interrupted."""
        said = {name: value for name, value in (("topology", topology), ("port", port)) if value is not None}
        with served(settings_from(settings, home, serving=said or None)) as url:
            console.print(f"viewer's page [bold]{url}/[/]   operator's page {url}/ops   API {url}/docs")
            until_interrupted()


def bound() -> Any:
    """The bound Serve graph of the environment's settings, for `serve run` and `serve deploy`.

    Without a store's URL the embedded store of this machine is started, or joined, and left running for the replicas.
    """
    prepare(os.environ)
    settings = settings_from(None)
    if not settings.store.url:
        from recray.stores.embedded import EmbeddedStore

        url = EmbeddedStore.start(settings.home, settings.store.port).url
        settings = settings.model_copy(update={"store": settings.store.model_copy(update={"url": url})})
    from recray.serving.compose import compose

    return compose(settings)

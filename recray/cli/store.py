"""Which online store a command uses, and `recray store`: its shards.

A command uses the store that the settings name, or the embedded one, started for as long as needed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.errors import ConfigError
from recray.settings import Settings
from recray.stores.connect import open_store
from recray.stores.embedded import EmbeddedStore
from recray.stores.growing import Moved
from recray.stores.online import OnlineStore
from recray.stores.redis import RedisStore

_T = TypeVar("_T")
_SAID_EVERY: int = 100_000


@contextmanager
def store_of(settings: Settings) -> Iterator[str]:
    """The store's URL. An embedded server that this command started ends with it; one that runs already is joined."""
    if settings.store.url:
        yield settings.store.url
        return
    with EmbeddedStore.start(settings.home, settings.store.port) as store:
        yield store.url


def with_store(settings: Settings, work: Callable[[OnlineStore], Awaitable[_T]]) -> _T:
    """Do something with the settings' store and close it."""

    async def run(url: str) -> _T:
        store = open_store(settings.store, url)
        try:
            return await work(store)
        finally:
            await store.close()

    with store_of(settings) as url:
        return asyncio.run(run(url))


def on_a_server(store: OnlineStore) -> RedisStore:
    """The store, if it is on a server.

    Raises:
        ConfigError: it is in this process alone.
    """
    if not isinstance(store, RedisStore):
        raise ConfigError("store.url is memory://; expected one that outlives this command: leave it empty, or name a server")
    return store


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = typer.Typer(help="The online store: its shards.", no_args_is_help=True)
    app.add_typer(group, name="store")

    @group.command()
    def grow(
        shards: Annotated[int, typer.Option(min=1, help="How many shards it shall have: a multiple of what it has.")],
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Give a store more shards while it is used. Interrupted, it works on as it is; the same command goes on with it."""

        async def work(store: OnlineStore) -> dict[str, int]:
            growing = on_a_server(store)
            before, told = await growing.n_shards(), 0

            def tell(moved: Moved) -> None:
                nonlocal told
                if moved.n_looked_at - told >= _SAID_EVERY:
                    told = moved.n_looked_at
                    say(f"looked at {told:,} keys, moved {moved.n_profiles:,} profiles")

            moved = await growing.grow(shards, tell)
            return {"shards_before": before, "shards": shards, **asdict(moved)}

        with step(f"grow to {shards} shards") as say:
            done = with_store(settings_from(settings, home), work)
        console.print(f"{done['shards']} shards; moved {done['n_profiles']:,} profiles and {done['n_marks']:,} dedup marks")
        write_json(json, done)

"""Which online store a command uses, and `recray store`: its shards and its memory.

A command uses the store that the settings name, or the embedded one, started for as long as needed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Column, Table

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, step, write_json
from recray.cli.publications import register_publications
from recray.errors import ConfigError
from recray.settings import Settings

if TYPE_CHECKING:
    from recray.stores.growing import Moved
    from recray.stores.memory_use import MemoryUse
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
    from recray.stores.embedded import EmbeddedStore

    with EmbeddedStore.start(settings.home, settings.store.port) as store:
        yield store.url


def with_store(settings: Settings, work: Callable[["OnlineStore"], Awaitable[_T]]) -> _T:
    """Do something with the settings' store and close it."""
    from recray.stores.connect import open_store

    async def run(url: str) -> _T:
        store = open_store(settings.store, url)
        try:
            return await work(store)
        finally:
            await store.close()

    with store_of(settings) as url:
        return asyncio.run(run(url))


def on_a_server(store: "OnlineStore") -> "RedisStore":
    """The store, if it is on a server.

    Raises:
        ConfigError: it is in this process alone.
    """
    from recray.stores.redis import RedisStore

    if not isinstance(store, RedisStore):
        raise ConfigError("store.url is memory://; expected one that outlives this command: leave it empty, or name a server")
    return store


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = typer.Typer(help="The online store: its shards, its memory, what is published to it.", no_args_is_help=True)
    app.add_typer(group, name="store")
    register_publications(group, store_of)

    @group.command()
    def grow(
        shards: Annotated[int, typer.Option(min=1, help="How many shards it shall have: a multiple of what it has.")],
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Give a store more shards while it is used. Interrupted, it works on as it is; the same command goes on with it."""

        async def work(store: "OnlineStore") -> dict[str, int]:
            growing = on_a_server(store)
            before, told = await growing.n_shards(), 0

            def tell(moved: "Moved") -> None:
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

    @group.command()
    def memory(
        keys: Annotated[int, typer.Option(min=1, help="Most keys of each server to look at.")] = 20_000,
        made_up: Annotated[int, typer.Option(min=0, help="Measure a store of its own with so many made-up profiles.")] = 0,
        events: Annotated[int, typer.Option(min=1, help="Events of each made-up profile.")] = 200,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Bytes by part of the store, in all and per profile."""
        chosen = settings_from(settings, home)
        if made_up:
            from recray.bench.memory_trial import memory_trial

            use = memory_trial(chosen.store, made_up, events, chosen.training.seed)
        else:
            use = with_store(chosen, lambda store: on_a_server(store).memory(keys))
        _show(use)
        write_json(json, asdict(use))


def _show(use: "MemoryUse") -> None:
    n_profiles = max(use.n_profiles, 1.0)
    table = Table(
        "part", *(Column(name, justify="right") for name in ("keys or entries", "bytes", "bytes per profile")), box=None
    )
    for part in use.parts:
        table.add_row(part.name, f"{part.n:,.0f}", f"{part.n_bytes:,.0f}", f"{part.n_bytes / n_profiles:,.0f}")
    console.print(table)
    console.print(
        f"{use.n_profiles:,.0f} profiles; looked at {use.n_looked_at:,} of {use.n_keys:,} keys; "
        f"the servers use {use.used_bytes:,} bytes, {use.used_bytes / n_profiles:,.0f} per profile"
    )

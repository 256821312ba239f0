"""`recray sink`: the event log into the lake, for a store that is served elsewhere or not at all."""

import asyncio
import signal
import time
import uuid
from typing import Annotated

import msgspec
import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, write_json
from recray.cli.store import store_of
from recray.settings import Settings


def wall_s() -> float:
    """Seconds since 1970."""
    return time.time_ns() / 1_000_000_000


async def sunk(settings: Settings, data: str, url: str, *, until_empty: bool) -> dict[str, object]:
    """Carry events over until SIGINT or SIGTERM, or until nothing is left; what this command and all sinks before it did."""
    from recray.serving.follower import follow
    from recray.serving.sink import GROUP, Sink, SinkFacts
    from recray.stores.connect import open_store
    from recray.stores.lake import Lake

    store, lake = open_store(settings.store, url), Lake(settings.lake_dir)
    before = lake.sunk(data).read()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sink = Sink(store, lake, data, settings, member=uuid.uuid4().hex, now_s=wall_s)
    try:
        if until_empty:
            await sink.drain()
        else:
            await asyncio.gather(sink.run(stop), follow(settings, store, stop, wall_s))
        noted, lag = await store.noted(GROUP), await store.lag(GROUP)
    finally:
        await store.close()
    facts = msgspec.json.decode(noted, type=SinkFacts) if noted else SinkFacts(data, 0, 0, 0)
    return {
        "data": data,
        "written": facts.n_written - before.n_rows,
        "quarantined": facts.n_quarantined - before.n_quarantined,
        "written_ever": facts.n_written,
        "quarantined_ever": facts.n_quarantined,
        "left": lag.n_entries,
    }


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command()
    def sink(
        data: Annotated[str, typer.Option("--data", help="Name of the data set in the lake.")] = "ml-100k",
        until_empty: Annotated[bool, typer.Option("--until-empty", help="Stop when nothing is left.")] = False,
        settings: SettingsFile = None,
        home: Home = None,
        json: JsonFile = None,
    ) -> None:
        """Carry feedback from the online store's log into the lake until interrupted; `serve` and `demo` do so themselves."""
        chosen = settings_from(settings, home)
        from recray.stores.lake import Lake

        Lake(chosen.lake_dir).manifest(data)  # a name that is not there is told before anything starts
        with store_of(chosen) as url:
            if not until_empty:
                console.print(f"events go to [bold]{data}[/] in {chosen.lake_dir}; press Ctrl-C to stop")
            done = asyncio.run(sunk(chosen, data, url, until_empty=until_empty))
        console.print(f"wrote {done['written']:,} events, set {done['quarantined']:,} aside, {done['left']:,} left")
        write_json(json, done)

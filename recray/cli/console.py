"""How commands speak: progress with the time it took, tables, and a JSON result for other programs."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console

from recray.settings import Settings, load

_WIDE: Final = 120
"""Columns of a file or pipe, which has no width of its own: at the usual 80, tables lose the ends of their headings."""
console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
errors = Console(stderr=True, highlight=False)

SettingsFile = Annotated[Path | None, typer.Option("--settings", help="YAML file of differences to the default settings.")]
Home = Annotated[Path | None, typer.Option("--home", help="Where the lake, bundles and the embedded store live.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file.")]
ScaleName = Annotated[str | None, typer.Option("--scale", help="smoke, laptop or cluster: sizes of everything together.")]


def settings_from(path: Path | None, home: Path | None = None, **differences: Any) -> Settings:
    """Settings of a command: file, environment, then what the command line said."""
    said = {name: value for name, value in differences.items() if value is not None}
    resolved = load(path, os.environ, **({"home": str(home)} if home else {}), **said)
    # Ray's workers run elsewhere in the file system: a relative home would be another place to each of them.
    return resolved.model_copy(update={"home": resolved.home.absolute()})


def cache_dir() -> Path:
    """Where original archives are looked for and kept."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "recray"
    return Path(os.environ.get("RECRAY_DATA_DIR") or default)


def write_json(path: Path | None, result: Any) -> None:
    """Write a command's result where it was asked for, whole or not at all."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    aside.replace(path)


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """One step of a long command: a spinner while it lasts, lines for what happens in it, and its time at the end."""
    began = time.perf_counter()
    with console.status(f"[bold]{title}[/] ..."):
        yield lambda line: console.print(f"  [dim]{time.perf_counter() - began:6.1f} s[/]  {line}")
    console.print(f"[green]✓[/] [bold]{title}[/] [dim]{time.perf_counter() - began:.1f} s[/]")

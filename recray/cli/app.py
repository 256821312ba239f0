"""`recray`: every command, by the file that holds it."""

import sys

import typer
from rich.markup import escape

from recray.cli import bench, bundles, data, demo, doctor, profiles, serve, simulate, sink, store, train
from recray.cli.console import errors
from recray.errors import RecrayError

app = typer.Typer(name="recray", help="A streaming-video recommendation engine on Ray.", no_args_is_help=True,
                  pretty_exceptions_enable=False, add_completion=False)  # fmt: skip
for module in (demo, doctor, data, train, serve, sink, store, bundles, profiles, simulate, bench):
    module.register(app)


def main() -> None:
    """Run the command line; an error of recray ends it with one clear line and exit code 1."""
    try:
        app()
    except RecrayError as error:
        errors.print(f"[bold red]error[/] {escape(str(error))}", highlight=False)
        sys.exit(1)

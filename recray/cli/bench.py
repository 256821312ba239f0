"""`recray bench`: measurements that anyone can repeat, each by the file that holds it."""

import typer

from recray.cli.bench_curves import register_curves
from recray.cli.bench_faults import register_faults
from recray.cli.bench_freshness import register_freshness
from recray.cli.bench_parity import register_parity
from recray.cli.bench_parts import register_parts
from recray.cli.bench_quality import register_quality
from recray.cli.bench_serve import register_serve
from recray.cli.bench_session import register_session


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = typer.Typer(help="Measure and write JSON.", no_args_is_help=True)
    app.add_typer(group, name="bench")
    register_quality(group)
    register_curves(group)
    register_serve(group)
    register_faults(group)
    register_parts(group)
    register_freshness(group)
    register_session(group)
    register_parity(group)

"""`recray bench`: measurements that anyone can repeat, each by the file that holds it."""

import signal
from types import FrameType

import typer

from recray.cli.bench_bias import register_bias
from recray.cli.bench_curves import register_curves
from recray.cli.bench_faults import register_faults
from recray.cli.bench_freshness import register_freshness
from recray.cli.bench_onboarding import register_onboarding
from recray.cli.bench_parity import register_parity
from recray.cli.bench_parts import register_parts
from recray.cli.bench_quality import register_quality
from recray.cli.bench_serve import register_serve
from recray.cli.bench_session import register_session


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = typer.Typer(no_args_is_help=True)
    app.add_typer(group, name="bench")
    group.callback()(_ends_what_it_started)
    register_quality(group)
    register_bias(group)
    register_curves(group)
    register_serve(group)
    register_faults(group)
    register_parts(group)
    register_freshness(group)
    register_session(group)
    register_onboarding(group)
    register_parity(group)


def _ends_what_it_started() -> None:
    """Measure and write JSON."""
    # By default SIGTERM ends Python at once, and applications that were started to be measured would go on for good.
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

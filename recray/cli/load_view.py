"""How a load looks in a terminal: figures of the last seconds while it runs, a histogram and a table at its end."""

from collections import deque
from types import TracebackType
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from recray.cli.console import console

_BARS: Final = " ▁▂▃▄▅▆▇█"
_HISTORY: Final = 60
_BAR_WIDTH: Final = 44
_LINE_EVERY_S: Final = 5.0


class View:
    """A live view on a terminal, and a plain line every five seconds elsewhere. State: the last looks."""

    def __init__(self, to: Console) -> None:
        self._to = to
        self._live = Live(console=to, refresh_per_second=4, transient=True) if to.is_terminal else None
        self._answered: deque[float] = deque(maxlen=_HISTORY)
        self._late: deque[float] = deque(maxlen=_HISTORY)
        self._next_line_s = _LINE_EVERY_S

    def __enter__(self) -> "View":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, now: dict[str, Any]) -> None:
        """Show the last seconds."""
        self._answered.append(now["requests_per_s"])
        self._late.append(now["p99_ms"] or 0.0)
        if self._live is not None:
            self._live.update(self._screen(now))
        elif now["at_s"] >= self._next_line_s:
            self._next_line_s += _LINE_EVERY_S
            self._to.print(plain(now), soft_wrap=True)

    def _screen(self, now: dict[str, Any]) -> Group:
        columns = {
            "wanted/s": f"{now['wanted_per_s']:,.0f}",
            "asked/s": f"{now['asked_per_s']:,.0f}",
            "answered/s": f"{now['requests_per_s']:,.0f}",
            "p50 ms": milliseconds(now["p50_ms"]),
            "p99 ms": milliseconds(now["p99_ms"]),
            "under way": f"{now['under_way']:,}",
            "failed": _red(now["failed"]),
            "degraded": _red(now["degraded"]),
            "turned away": _red(now["turned_away"]),
            "feedback": f"{now['accepted']:,}",
        }
        figures = Table(*columns, box=None, padding=(0, 1))
        figures.add_row(*columns.values())
        return Group(
            Text(f"{now['at_s']:.0f} of {now['of_s']:.0f} s" if now["at_s"] >= 0 else "lead-in", style="bold"),
            figures,
            Text.assemble("answered/s ", (sparkline(list(self._answered)), "green"), f" {max(self._answered):,.0f}"),
            Text.assemble("p99 ms     ", (sparkline(list(self._late)), "yellow"), f" {max(self._late):,.0f}"),
            Text("figures of the last 5 s; sparklines reach back 30 s; Ctrl-C ends the run", style="dim"),
        )


def plain(now: dict[str, Any]) -> str:
    """The last seconds in one line."""
    return (
        f"{now['at_s']:6.1f} s  wanted {now['wanted_per_s']:.0f}/s  asked {now['asked_per_s']:.0f}/s  "
        f"answered {now['requests_per_s']:.0f}/s  p50 {milliseconds(now['p50_ms'])} ms  p99 {milliseconds(now['p99_ms'])} ms  "
        f"under way {now['under_way']}  failed {now['failed']}  degraded {now['degraded']}  turned away {now['turned_away']}"
    )


def sparkline(values: list[float]) -> str:
    """A character per value, as high as its share of the highest."""
    most = max(values, default=0.0) or 1.0
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in values)


def show_result(found: dict[str, Any]) -> None:
    """Totals, latencies as a histogram, figures by endpoint, and whether the client measured itself."""
    _histogram(found["histogram"])
    table = Table("", "asked", "answered", "p50 ms", "p99 ms", "max ms", "degraded", "away", "failed", box=None, padding=(0, 1))
    for name, one in [*found["endpoints"].items(), ("all", found)]:
        fates = one["fates"]
        failed = sum(fates[fate] for fate in ("refused", "broken", "unanswered", "shed-by-client"))
        latencies = (milliseconds(one[figure]) for figure in ("p50_ms", "p99_ms", "max_ms"))
        wrong = (_red(n) for n in (fates["degraded"], fates["turned-away"], failed))
        table.add_row(name, f"{one['due']:,}", f"{one['answered']:,}", *latencies, *wrong)
    console.print(table)
    sessions, feedback = found["sessions"], found["feedback"]
    console.print(
        f"[bold]{found['requests_per_s']:,.1f}[/] answered per s of {found['asked_per_s']:,.1f} asked; "
        f"{sessions['started']:,} sessions; feedback: {feedback['accepted']:,} events accepted, "
        f"{feedback['duplicates']:,} duplicate, {feedback['rejected']:,} rejected"
    )
    _wrong(found)
    lag = found["client"]["lag_p99_ms"]
    if found["client"]["distorted"]:
        console.print(f"[yellow]the client was {lag:.1f} ms late at p99: these are its figures as much as the server's; "
                      "lower the rate, or load from a machine that is less busy[/]")  # fmt: skip


def _wrong(found: dict[str, Any]) -> None:
    bad = {status: n for status, n in found["statuses"].items() if not status.startswith("2")}
    for title, counts in (
        ("statuses (0: broken connection)", bad),
        ("degraded", found["degraded_stages"]),
        ("rejected feedback", found["feedback"]["reasons"]),
        ("never sent, too many under way", {"requests": found["shed_by_client"]} if found["shed_by_client"] else {}),
    ):
        if counts:
            console.print(f"[yellow]{title}: {', '.join(f'{name} {n:,}' for name, n in list(counts.items())[:8])}[/]")


def show_peak(found: dict[str, Any]) -> None:
    """The peak in a line."""
    console.print(
        f"[bold]{found['requests_per_s']:,.1f}[/] answered per s over {found['connections']} connections ({found['tool']}), "
        f"p50 {milliseconds(found['p50_ms'])} ms, p99 {milliseconds(found['p99_ms'])} ms, {found['errors']:,} errors, "
        f"{found['degraded']:,} degraded"
    )


def _histogram(found: dict[str, Any]) -> None:
    """Two buckets a line."""
    edges, pairs = found["edges_ms"][::2], found["counts"]
    counts = [a + b for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    used = [place for place, count in enumerate(counts) if count]
    if not used:
        return
    most = max(counts)
    for place in range(used[0], used[-1] + 1):
        bar = "█" * max(round(counts[place] / most * _BAR_WIDTH), 1 if counts[place] else 0)
        console.print(f"[dim]{edges[place]:9.2f} - {edges[place + 1]:9.2f} ms[/] [cyan]{bar}[/] {counts[place]:,}")


def milliseconds(value: float | None) -> str:
    """A latency with a decimal; a dash when there is none."""
    return "-" if value is None else f"{value:,.1f}"


def _red(count: int) -> str:
    return f"[red]{count:,}[/]" if count else "0"

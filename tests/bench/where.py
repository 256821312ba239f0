"""Where the processor time of one request goes: by process, by part, and as a flame graph.

    python tests/bench/where.py --home HOME --topology fused --rate 400 --out docs/results

The champion of HOME is served as `recray bench serve` does it and asked for lists at a steady rate. Processor time per request
comes from the kernel, without a profiler; what a process spends it on from `py-spy`, which then samples one process of each
kind. Its stacks say in what proportion, so that its own cost does not matter. Writes
where-<topology>.json and flame-<topology>.svg.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from recray.bench import compare
from recray.bench.contestants import CONTESTANTS, Running, running
from recray.bench.load import Job
from recray.bench.per_core import HOST
from recray.bench.prepared import prepared
from recray.bench.processes import cpu_s, members
from recray.cli.bench_serve import store_of
from recray.cli.console import settings_from
from recray.settings.provenance import provenance

SAMPLED = {"fused": ("Gateway",), "composed": ("Gateway", "CandidateGenerator", "Ranker-deep", "FeatureLookup")}
IDLE = {"Thread.run (threading.py", "_worker (concurrent/futures/thread.py", "Worker.main_loop (ray/_private/worker.py",
        "Condition.wait (threading.py"}  # fmt: skip
OUTER = ("thread (", "Thread.", "<module>", "Worker.main_loop", "_worker (")
CORES, CONNECTIONS, WARM_S = 2, 32, 4.0
PARTS = {  # the innermost frame that one of them fits decides
    "JSON": r"^written ",
    "HTTP and Ray Serve": r"^RequestResponseCycle|^HttpToolsProtocol|ray/serve|^respond |^_parameters ",
    "profiles: store": r"^RedisStore\.read ",
    "profiles: decode": r"^profiles_of_records ",
    "eligibility": r"^eligibility ",
    "union": r"^union ",
    "candidates, the rest": r"^CandidateStage\.generate ",
    "features": r"^ranker_input ",
    "first pass": r"^only |\.places \(recray/ranking",
    "ranker": r"^LocalRanking\.predict ",
    "slate and page": r"^slate |^weigh |^_page ",
    "slate log": r"^Service\._log_slates ",
    "batch, the rest": r"^Batcher\._run ",
}
SOURCE = re.compile(r"^(\w+)\.retrieve \(recray/candidates/(\w+)\.py")
WIDTH, ROW, LEAST_PX = 1_400, 17, 0.6


@dataclass
class Frame:
    """A frame of the flame graph. State: milliseconds per request, and the frames that it called."""

    ms: float = 0.0
    called: dict[str, "Frame"] = field(default_factory=dict)

    def add(self, stack: Sequence[str], ms: float) -> None:
        self.ms += ms
        if stack:
            self.called.setdefault(stack[0], Frame()).add(stack[1:], ms)

    def depth(self) -> int:
        return 1 + max((frame.depth() for frame in self.called.values()), default=0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--topology", choices=sorted(SAMPLED), default="fused")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    settings, at = settings_from(None, given.home), datetime.now(UTC)
    with (
        tempfile.TemporaryDirectory() as folder,
        store_of(settings) as store_url,
        prepared(settings, store_url, None, Path(folder)) as ready,
    ):
        paths = ready.paths("flat")
        with running(CONTESTANTS[given.topology], ready, CORES, paths) as server:
            facts, root = measured(server, paths, given, Path(folder))
    facts |= {"topology": given.topology, "catalogue": ready.catalogue, "bundle": ready.bundle_id} | provenance(at)
    (given.out / f"where-{given.topology}.json").write_text(json.dumps(facts, indent=2) + "\n")
    (given.out / f"flame-{given.topology}.svg").write_text(drawn(root))
    sys.stdout.write(json.dumps(facts["processes"] | facts["parts"], indent=2) + "\n")


def measured(server: Running, paths: list[str], given: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Frame]:
    """Figures, and the stacks of all sampled kinds under one root."""

    def load(kind: Any, seconds: float) -> dict[str, Any]:
        return compare._run(Job(kind=kind, tool="own", host=HOST, port=server.port, paths=paths, connections=CONNECTIONS,
                                seconds=seconds, rate=given.rate, roots=server.roots, mark=server.mark))  # fmt: skip

    load("closed", WARM_S)
    load("open", WARM_S)
    alive = members(server.roots, server.mark)
    before = {pid: cpu_s([pid], "-") for pid in alive}
    steady = load("open", given.seconds)
    per_request = 1_000 / steady["answered"]
    used = {pid: (cpu_s([pid], "-") - before[pid]) * per_request for pid in alive if Path(f"/proc/{pid}").exists()}
    processes: Counter[str] = Counter()
    for pid in used:
        processes[kind_of(pid)] += own(pid, used, alive)
    parts, root = Counter[str](), Frame()
    for kind in SAMPLED[given.topology]:
        pid = max((pid for pid in used if kind_of(pid) == kind), key=used.__getitem__)
        file = folder / f"{kind}.txt"
        spy = subprocess.Popen(["py-spy", "record", "-p", str(pid), "-d", str(int(given.seconds)), "-r", "100", "-f", "raw",
                                "-t", "-o", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        load("open", given.seconds + 1)
        spy.wait()
        stacks = list(active(file))
        ms = processes[kind] / sum(n for _, n in stacks)
        for stack, n in stacks:
            parts[f"{kind}: {part_of(stack)}"] += n * ms
            root.add([kind, *stack], n * ms)
    said = {"rate_per_s": given.rate, **{name: steady[name] for name in ("answered", "p50_ms", "p99_ms", "cpu_ms_per_request")}}
    ordered = {"processes": processes.most_common(), "parts": parts.most_common()}
    return said | {name: {one: round(ms, 3) for one, ms in rows if ms >= 0.005} for name, rows in ordered.items()}, root


def own(pid: int, used: dict[int, float], alive: set[int]) -> float:
    """Milliseconds of a process itself: `cpu_s` of a root counts its descendants too."""
    children = {other for other in alive if parent_of(other) == pid}
    return used[pid] - sum(used.get(child, 0.0) for child in children)


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def kind_of(pid: int) -> str:
    """What a process is: a deployment, or the program that it runs."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return "ended"
    if replica := re.search(r"ServeReplica:\w+:([\w-]+)", line):
        return replica[1]
    if line.startswith("ray::"):
        return line.split("(")[0].split(".")[0].strip()
    known = ("haproxy", "valkey", "raylet", "gcs_server", "dashboard", "log_monitor")
    return next((name for name in known if name in line), "command line" if "recray.cli" in line else "Ray, the rest")


def active(file: Path) -> Iterator[tuple[list[str], int]]:
    """Stacks that did something, without the frames that all of a thread's have, and how often they were met."""
    for line in file.read_text().splitlines():
        stack, _, n = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        if frames[-1].rstrip(")") not in IDLE and (kept := [frame for frame in frames if not frame.startswith(OUTER)]):
            yield kept, int(n)


def part_of(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        if source := SOURCE.match(frame):
            return f"source {source[1] if source[2] != 'popular' else 'popular and alike'}"
        for name, pattern in PARTS.items():
            if re.search(pattern, frame):
                return name
    return "event loop and the rest"


def drawn(root: Frame) -> str:
    """The frames as SVG, callers on top; the width is the time per request."""
    height = ROW * (root.depth() + 1)
    shapes = list(_rectangles(root, 0.0, 0, WIDTH / root.ms))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">'
    return "\n".join((head, f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *shapes, "</svg>\n"))


def _rectangles(frame: Frame, left: float, row: int, px_per_ms: float) -> Iterator[str]:
    for name, child in sorted(frame.called.items(), key=lambda pair: -pair[1].ms):
        width = child.ms * px_per_ms
        if width >= LEAST_PX:
            colour = "#7fb3d5" if "(recray/" in name else "#f0b27a" if "(ray/" in name or "(uvicorn/" in name else "#d5d8dc"
            said = escape(name.split(" (")[0][: int(width / 6.8)])
            text = f'<text x="{left + 2:.1f}" y="{row * ROW + 12}">{said}</text>' if width > 20 else ""
            yield (
                f'<g><title>{escape(name)}: {child.ms:.3f} ms</title><rect x="{left:.1f}" y="{row * ROW}" width="{width:.1f}" '
                f'height="{ROW - 1}" fill="{colour}"/>{text}</g>'
            )
            yield from _rectangles(child, left, row + 1, px_per_ms)
        left += width


if __name__ == "__main__":
    main()

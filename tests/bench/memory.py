"""How much memory a command and every process that it starts hold at most: proportional set size, shared pages counted once.

`python tests/bench/memory.py .venv/bin/recray train --data ml-1m --home HOME`: a line whenever there is more than before, with
the largest processes, and the peak at the end. Looked at every two seconds; what Ray starts carries the mark that it inherits.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from recray.bench.processes import MARK, members

_EVERY_S = 2.0
_N_SHOWN = 4


def held_mib(pid: int) -> float:
    """Proportional set size of a process; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def name_of(pid: int) -> str:
    """The first word of a process's command line; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def main() -> int:
    """Run the command given; its exit status is ours."""
    mark, peak = f"memory-{os.getpid()}", 0.0
    process = subprocess.Popen(sys.argv[1:], env=os.environ | {MARK: mark})
    while process.poll() is None:
        held = {pid: held_mib(pid) for pid in members([process.pid], mark)}
        if sum(held.values()) > peak:
            peak = sum(held.values())
            largest = sorted(held, key=lambda pid: -held[pid])[:_N_SHOWN]
            shown = ", ".join(f"{name_of(pid)} {held[pid]:,.0f}" for pid in largest)
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {peak:,.0f} MiB: {shown}\n")
        time.sleep(_EVERY_S)
    sys.stderr.write(f"at most {peak:,.0f} MiB\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())

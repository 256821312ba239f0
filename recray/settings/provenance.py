"""What a result was made with: the code, the machine, the moment. Every file of figures and every bundle carries it."""

import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any


def git_commit() -> str | None:
    """The commit of the code that runs, or None outside a checkout."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


def machine() -> dict[str, Any]:
    """Processor and number of cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": models[0] if models else platform.processor() or platform.machine(), "cores": n_cores}


def provenance(at: datetime) -> dict[str, Any]:
    """`machine`, `commit` and `date` of a result made at a moment."""
    return {"machine": machine(), "commit": git_commit(), "date": at.isoformat(timespec="seconds")}

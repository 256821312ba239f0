"""Which processes of a running application are its parts, and how each is made to fail and comes back."""

import csv
import os
import signal
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final, Literal
from urllib.error import URLError
from urllib.request import urlopen

from recray.bench.per_core import HOST
from recray.bench.processes import members
from recray.errors import DataError
from recray.experiments.assign import DEFAULT_RANKER
from recray.stores.embedded import EmbeddedStore

Part = Literal["gateway", "features", "candidates", "ranker", "controller", "haproxy", "store", "sink"]
Harm = Literal["killed", "frozen"]
_REPLICA: Final = "ray::ServeReplica:recray:"
_TITLES: Final[dict[Part, str]] = {
    "gateway": f"{_REPLICA}Gateway",
    "features": f"{_REPLICA}FeatureLookup",
    "candidates": f"{_REPLICA}CandidateGenerator",
    "ranker": f"{_REPLICA}Ranker-{DEFAULT_RANKER}",
    "controller": "ray::ServeController",
    "haproxy": "haproxy",
    "sink": f"{_REPLICA}Sink",
}
_STATS_S: Final = 2.0


def processes(part: Part, mark: str, proc: Path = Path("/proc")) -> list[int]:
    """Process ids of a part of the application with this mark, ascending; the store is not among its processes."""
    return sorted(pid for pid in members((), mark, proc) if _title(pid, proc).startswith(_TITLES[part]))


def _title(pid: int, proc: Path) -> str:
    """What a process calls itself: Ray's replace their command line, of others it is the program's name."""
    try:
        said = (proc / str(pid) / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    return said if said.startswith("ray::") else Path(said).name


def gateways_up(stats_port: int) -> int:
    """How many gateway replicas HAProxy takes for healthy; 0 while it does not answer."""
    try:
        with urlopen(f"http://{HOST}:{stats_port}/stats;csv", timeout=_STATS_S) as reply:  # loopback only
            lines = reply.read().decode().lstrip("# ").splitlines()
    except (URLError, OSError, HTTPException):
        return 0
    rows = csv.DictReader(lines)
    return sum("Gateway" in row["svname"] and row["status"].startswith("UP") for row in rows)


@dataclass(slots=True)
class StoreInCharge:
    """The store server of a folder, with its supervisor's part: whoever finds it dead starts it on the same file and port.

    What is started stays for whoever uses the folder next; `embedded.shut_down` ends it.
    """

    home: Path
    pid: int

    @classmethod
    def of(cls, home: Path) -> "StoreInCharge":
        """The server that runs for a folder, or a new one."""
        return cls(home, EmbeddedStore.start(home).pid)

    def restart(self) -> None:
        """Start it again where it was."""
        self.pid = EmbeddedStore.start(self.home).pid


@dataclass(frozen=True, slots=True)
class Fault:
    """One part that is killed or frozen. A store is brought back after `away_s`; anything else is Ray's to replace."""

    part: Part
    harm: Harm
    away_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.part}-{self.harm}"

    def inject(self, mark: str, store: StoreInCharge) -> list[int]:
        """Kill or freeze the part's first process, of HAProxy also those that still drain; their ids.

        Raises:
            DataError: there is none.
        """
        found = [store.pid] if self.part == "store" else processes(self.part, mark)
        if not found:
            raise DataError(f"no process of {self.part} runs; expected one: see the log of the application")
        hit = found if self.part == "haproxy" else found[:1]
        for pid in hit:
            os.kill(pid, signal.SIGKILL if self.harm == "killed" else signal.SIGSTOP)
        return hit

    def heal(self, store: StoreInCharge) -> None:
        """Bring a store back; others come back by themselves."""
        if self.part != "store":
            return
        if self.harm == "killed":
            store.restart()
        else:
            os.kill(store.pid, signal.SIGCONT)

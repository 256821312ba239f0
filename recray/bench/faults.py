"""One part after another is killed or frozen under a steady load of viewers: what they got, how long it lasted, what was lost.

The load is open: sessions arrive at a rate whatever the answers are, and each gives feedback. A part fails once the load has
been steady for a while; the load ends when answers have been whole again for some seconds, or after a bounded time.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recray.bench.contestants import Contestant, Running, running, served
from recray.bench.ledger import Ledger
from recray.bench.per_core import HOST
from recray.bench.prepared import Prepared
from recray.bench.victims import Fault, StoreInCharge, gateways_up
from recray.errors import ConfigError, DataError
from recray.settings import TrafficSettings
from recray.simulation.audience import Viewer, placed
from recray.simulation.http_client import Connection, Target
from recray.simulation.load import Plan as Load
from recray.simulation.load import drive_over
from recray.simulation.loops import percentiles_ms
from recray.simulation.rate import Piece, Rate
from recray.simulation.sessions import ENDPOINTS, FEEDBACK, lead_in_s
from recray.simulation.traffic import Fate, Traffic
from recray.stores.connect import open_store

TOPOLOGIES: Final = ("fused", "composed")
N_GATEWAYS: Final = 2
"""With one there is nobody to hand a request on to."""
TWO: Final = {"min_replicas": N_GATEWAYS, "max_replicas": N_GATEWAYS}
THINK_S: Final = 0.2
"""Short, so that a session's feedback falls into the seconds around a fault."""
_AWAY_S: Final = 3.0
_READY_S: Final = 90.0
_LOOK_S: Final = 0.1
PATIENCE_S: Final = 30.0
"""Of whoever reads the log when all is over."""
Say = Callable[[str], None]

EVERYWHERE: Final = (
    Fault("gateway", "killed"),
    Fault("gateway", "frozen"),
    Fault("store", "killed", _AWAY_S),
    Fault("store", "frozen", _AWAY_S),
    Fault("controller", "killed"),
    Fault("haproxy", "killed"),
)
COMPOSED: Final = tuple(Fault(part, harm) for part in ("features", "candidates", "ranker") for harm in ("killed", "frozen"))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load, and for how long: `before_s` of it steady, then the fault, at most `most_s` of it, and `after_s` more."""

    rate: float
    before_s: float
    most_s: float
    after_s: float
    seed: int

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 10_000 and 0 < self.before_s <= 600 and 0 < self.most_s <= 600 and 0 < self.after_s <= 600):
            raise ConfigError(
                f"rate {self.rate}, before_s {self.before_s}, most_s {self.most_s}, after_s {self.after_s}; expected a rate "
                "up to 10000 per second, and up to 600 s each"
            )


def faults_of(topology: str, names: Sequence[str] = ()) -> tuple[Fault, ...]:
    """The faults that a topology can have; of them those that are named, if any are.

    Raises:
        ConfigError: no such topology, or no topology has a fault of that name.
    """
    if topology not in TOPOLOGIES:
        raise ConfigError(f"topology is {topology!r}; expected {' or '.join(TOPOLOGIES)}")
    unknown = set(names) - {fault.name for fault in (*COMPOSED, *EVERYWHERE)}
    if unknown:
        raise ConfigError(
            f"faults {sorted(unknown)}; expected some of {', '.join(one.name for one in (*COMPOSED, *EVERYWHERE))}"
        )
    known = (*COMPOSED, *EVERYWHERE) if topology == "composed" else EVERYWHERE
    return tuple(fault for fault in known if not names or fault.name in names)


@dataclass(slots=True)
class Served:
    """The application that is made to fail, who asks it, and the store behind it."""

    server: Running
    store: StoreInCharge
    prepared: Prepared
    viewers: list[Viewer]
    n_gateways: int

    @property
    def target(self) -> Target:
        return Target(HOST, self.server.port)


@contextmanager
def serving(topology: str, prepared: Prepared, bounds: Mapping[str, Any] = TWO) -> Iterator[Served]:
    """The champion served with these bounds of the gateway, as the home's settings say otherwise, until its last process ends.

    Raises:
        DataError: it did not come up.
    """
    settings = prepared.settings.serving
    gateway = {**settings.gateway.model_dump(), **bounds}
    differences = {"gateway": gateway, "most_delay_ms": settings.most_delay_ms}
    contestant = Contestant(topology, lambda given, port, cores: served(topology, given, port, differences), topology)
    viewers = placed(prepared.keys, [None] * len(prepared.keys), prepared.settings.training.seed)
    with running(contestant, prepared, N_GATEWAYS, prepared.paths("homepage")) as server:
        yield Served(server, StoreInCharge.of(prepared.folder), prepared, viewers, int(gateway["min_replicas"]))


async def whole(ours: Served) -> None:
    """Wait until every gateway replica is up and answers are whole.

    Raises:
        DataError: they are not after a minute and a half.
    """
    path, deadline_s = ours.prepared.paths("homepage")[0], asyncio.get_running_loop().time() + _READY_S
    good = 0
    while good < 2 * ours.n_gateways:
        up = await asyncio.to_thread(gateways_up, ours.server.stats_port)
        answer = await asyncio.to_thread(ours.server.ask, path) if up >= ours.n_gateways else None
        good = good + 1 if answer else 0
        if asyncio.get_running_loop().time() > deadline_s:
            raise DataError(f"{up} of {ours.n_gateways} gateways up after {_READY_S:.0f} s, answers not whole; see its log")
        await asyncio.sleep(0.0 if answer else 0.5)


async def measure(ours: Served, faults: Iterable[Fault], plan: Plan, say: Say) -> dict[str, dict[str, Any]]:
    """By fault: `requests`, `failed`, `degraded`, `refused`, `acknowledged`, `lost`, `recovery_s`, and p99 around it."""
    found = {}
    for fault in faults:
        await whole(ours)
        found[fault.name] = one = await _measured(ours, fault, plan)
        say(f"{fault.name}: {line(one)}")
    return found


async def _measured(ours: Served, fault: Fault, plan: Plan) -> dict[str, Any]:
    ledger = Ledger(asyncio.get_running_loop().time)
    met = await under(ours, ledger, fault, plan)
    settings = ours.prepared.settings.store.model_copy(update={"timeout_s": PATIENCE_S})
    store = open_store(settings, settings.url)
    try:
        return met | await ledger.kept(store, settings.n_shards)
    finally:
        await store.close()


async def under(ours: Served, ledger: Ledger, fault: Fault, plan: Plan) -> dict[str, Any]:
    """What viewers got around one fault: requests by how they ended, `recovery_s`, and p99. The ledger holds what they sent."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    traffic_settings = TrafficSettings(think_s=THINK_S)
    lasts_s = plan.before_s + plan.most_s + plan.after_s
    load = Load(ours.viewers, Rate((Piece(plan.rate, plan.rate, lasts_s),)), plan.seed, secrets.token_hex(6), traffic_settings)
    lines = [Connection(HOST, ours.server.port, keeps_body=True, most_idle_s=2.0) for _ in range(traffic_settings.connections)]
    try:
        driving = asyncio.ensure_future(drive_over([ledger.sending(one) for one in lines], load, stop=stop))
        await asyncio.sleep(lead_in_s(traffic_settings) + plan.before_s)
        fault_s = loop.time()
        fault.inject(ours.server.mark, ours.store)
        await asyncio.sleep(fault.away_s)
        await asyncio.to_thread(fault.heal, ours.store)
        whole_s = await _recovered(ledger, fault_s, fault_s + max(fault.away_s, _LOOK_S), fault_s + plan.most_s)
        await asyncio.sleep(plan.after_s)
        stop.set()
        traffic = await driving
    finally:
        for one in lines:
            one.close()
    with suppress(DataError):
        await whole(ours)
    recovery_s = None if whole_s is None else round(whole_s - fault_s, 3)
    return figures(traffic) | {"recovery_s": recovery_s} | _p99_around(traffic, fault_s, whole_s)


async def _recovered(ledger: Ledger, since_s: float, healed_s: float, until_s: float) -> float | None:
    """When answers were whole again for a second, the part being there again or not missed; None when time is up before."""
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        at_s = ledger.whole_from(since_s)
        if at_s is not None and loop.time() > healed_s:
            return at_s
        await asyncio.sleep(_LOOK_S)
    return None


def figures(traffic: Traffic) -> dict[str, Any]:
    """Requests by how they ended."""
    refused = [endpoint for endpoint, fate in zip(traffic.endpoint, traffic.fate, strict=True) if fate == Fate.TURNED_AWAY]
    return {
        "requests": len(traffic.fate),
        "failed": traffic.n_failed,
        "degraded": traffic.fate.count(Fate.DEGRADED),
        "degraded_stages": dict(traffic.degraded_stages),
        "refused": len(refused),
        "refused_feedback": sum(ENDPOINTS[endpoint] == FEEDBACK for endpoint in refused),
        "statuses": {str(status): n for status, n in sorted(traffic.statuses.items())},
    }


def _p99_around(traffic: Traffic, fault_s: float, whole_s: float | None) -> dict[str, Any]:
    """p99 in ms of requests by the moment at which they were due: before the fault, from it until answers are whole, after."""
    due_s = np.array(traffic.due_s) + traffic.began_s
    latency_s = np.array(traffic.latency_s)
    end_s = np.inf if whole_s is None else max(whole_s, fault_s + 1.0)
    phases = {"before": due_s < fault_s, "during": (due_s >= fault_s) & (due_s < end_s), "after": due_s >= end_s}
    return {f"p99_ms_{name}": percentiles_ms(latency_s[rows])["p99_ms"] for name, rows in phases.items()}


def line(one: dict[str, Any]) -> str:
    """A fault's figures in a line."""
    stages = ", ".join(f"{stage} {n}" for stage, n in one["degraded_stages"].items())
    recovery = "not recovered" if one["recovery_s"] is None else f"whole after {one['recovery_s']:.1f} s"
    return (
        f"{one['requests']:,} requests, {one['failed']} failed, {one['degraded']} degraded{f' ({stages})' if stages else ''}, "
        f"{one['refused']} refused, {one['acknowledged']:,} events acknowledged, {one['lost']} lost, {recovery}"
    )

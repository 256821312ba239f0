"""What must be in the environment before Ray starts, on every node: Ray and Ray Serve read it once, at import."""

import functools
import os
import random
import secrets
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from recray.errors import ConfigError
from recray.settings.reach import HAPROXY_PORTS

ENVIRONMENT: Final[Mapping[str, str]] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # HAProxy without throughput mode pays a thread hop and an object-store round trip per request.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # What is refused is refused before Serve does anything for it.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "recray.serving.front.layers",
    # A line per request to a collector in Python costs more than HAProxy itself; /metrics has the application's own figures.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Every replica and handle tells of its counts ten times a second by default: a twentieth of a busy gateway's Python.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # What a replica that died or hangs had not begun to answer goes to another one: every request here may be repeated.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response response-timeout",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "3",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",
    # A replica that hangs is asked no more after two checks that were not answered within a second.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    # On a busy machine a proxy takes longer than Ray's 5 s to start; it was killed for that, and the application with it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    # Three checks that fail, and HAProxy itself is started anew.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # Threads that spin while they wait starve the processes beside them.
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Replicas answer people; by default everything else on the machine would go first.
    "RAY_worker_niceness": "0",
    # Processes that ran a task stay, by default as many as there are cores, half a gigabyte each with what they imported.
    "RAY_num_workers_soft_limit": "0",
    # A worker per core is otherwise started before anyone asks, and ended a second later: half of what starting Ray costs.
    "RAY_prestart_worker_first_driver": "0",
    # The default is the number of cores, and a warning for every few workers more.
    "RAY_worker_maximum_startup_concurrency": "16",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
"""Values for one machine. `cluster.yaml` sets its own; whatever is set already is left alone."""
ON_LOOPBACK: Final = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""The one switch by which Ray takes 127.0.0.1 for this node's address, whatever the system."""
UNWATCHED: Final = ("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
"""Nobody takes the only machine away, so no process per fit needs to look whether somebody does."""
HAPROXY_FILES: Final = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
}
FALLBACK_PORTS: Final = ("RAY_SERVE_FALLBACK_PROXY_HTTP_PORT", "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT")
"""Where HAProxy turns while there is no replica. Ray's are fixed and shared: either of two applications would answer."""
_REPLICAS: Final = {"HTTP": range(30_000, 35_000), "GRPC": range(40_000, 45_000)}
"""Above the ports of Ray's workers."""
_BLOCK: Final = 100
_CLAIMS: Final[list[socket.socket]] = []
_RANGE: Final = range(20_000, 30_000)
_RUNNING_CLUSTER: Final = Path("/tmp/ray/ray_current_cluster")  # where `ray start` leaves its address


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add what is missing; call before anything imports ray.

    Two applications on one machine do not meet: inner ports of HAProxy and of Ray's proxy are free ones, HAProxy's files lie in
    a folder per user, where Ray adds one per node, and replicas listen on a block of ports of the application's own. (They
    would share theirs with any other application that counts from the same number, and answer each other's requests.) Unless
    a cluster is joined, Ray listens on loopback and asks for a token that only this process and its children know: what
    cannot be bound to loopback, and other users of the machine, are kept out by it.

    Raises:
        ConfigError: no port is free.
    """
    for name, value in ENVIRONMENT.items():
        environment.setdefault(name, value)
    if "RAY_ADDRESS" in environment or _RUNNING_CLUSTER.exists():
        environment.setdefault("RAY_AUTH_MODE", "disabled")
    else:
        environment.setdefault(*ON_LOOPBACK)
        environment.setdefault(*UNWATCHED)
        if environment.setdefault("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in environment:
            environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for name, file in HAPROXY_FILES.items():
        environment.setdefault(name, str(Path(f"/tmp/haproxy-serve-{os.getuid()}") / file))  # sockets need short paths
    for protocol, ports in _REPLICAS.items():
        least, end = (f"RAY_SERVE_DIRECT_INGRESS_{bound}_{protocol}_PORT" for bound in ("MIN", "MAX"))
        if least not in environment:
            environment[least] = str(_own_block(ports))
            environment[end] = str(_own_block(ports) + _BLOCK - 1)
    free = free_ports()
    for name in (*HAPROXY_PORTS, *FALLBACK_PORTS):
        # One that was inherited may be the parent's, whose application goes on.
        if not environment.get(name, "").isdigit() or not is_free(int(environment[name]), ""):
            environment[name] = str(next(free))


@functools.cache
def _own_block(ports: range) -> int:
    """First of so many ports on end that nobody listens on; this process's own from now on, for its last one stays bound."""
    starts = list(ports[::_BLOCK])
    for first in random.SystemRandom().sample(starts, len(starts)):
        if all(is_free(port, "") for port in range(first, first + _BLOCK)):
            claim = socket.socket()
            try:
                claim.bind(("", first + _BLOCK - 1))
            except OSError:  # another application came first
                claim.close()
                continue
            _CLAIMS.append(claim)
            return first
    raise ConfigError(f"no {_BLOCK} ports on end are free in {ports}; end what uses them")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a port can be bound; on every interface when the host is empty."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports() -> Iterator[int]:
    """Ports that are free, below those which the kernel hands out: Ray's many sockets could take one of these first.

    Raises:
        ConfigError: there are no more.
    """
    for port in random.SystemRandom().sample(_RANGE, len(_RANGE)):
        if is_free(port, ""):
            yield port
    raise ConfigError(f"no port of {_RANGE} is free; end what uses them")

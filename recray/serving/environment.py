"""What must be in the environment before Ray starts, on every node: Ray Serve reads it once, at import."""

from collections.abc import Mapping, MutableMapping
from typing import Final

ENVIRONMENT: Final[Mapping[str, str]] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # HAProxy without throughput mode pays a thread hop and an object-store round trip per request.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # A line per request to a collector in Python costs more than HAProxy itself; /metrics has the application's own figures.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # What a replica that died or hangs had not begun to answer goes to another one: every request here may be repeated.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response response-timeout",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "3",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",
    # A replica that hangs is asked no more after two checks that were not answered within a second.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    # Three checks that fail, and HAProxy itself is started anew.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # Threads that spin while they wait starve the processes beside them.
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    # The default is the number of cores, and a warning for every few workers more.
    "RAY_worker_maximum_startup_concurrency": "16",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
"""Values for one machine. `cluster.yaml` sets its own; whatever is set already is left alone."""


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add what is missing; call before anything imports ray."""
    for name, value in ENVIRONMENT.items():
        environment.setdefault(name, value)

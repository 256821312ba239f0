"""What other machines reach while recray serves on one: everything else is bound to loopback, which a test looks at."""

from typing import Final

HAPROXY_PORTS: Final = {
    "RAY_SERVE_HAPROXY_STATS_PORT": "HAProxy's statistics, read only",
    "RAY_SERVE_HAPROXY_METRICS_PORT": "HAProxy's metrics, read only",
}
"""Ports that Ray's template of HAProxy's configuration binds on every interface, and fixed unless set."""
REPLICA_PORTS: Final = ("ray::ServeReplica", "calls between Serve's replicas, one free port each, which ask for Ray's token")
"""What Serve binds on every interface, by the name of its processes. It unpickles what it is sent by who holds the token."""

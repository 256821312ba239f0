"""Which store a URL means."""

import time
from typing import Final
from urllib.parse import urlsplit

from recray.errors import ConfigError
from recray.settings import StoreSettings
from recray.stores.memory import MemoryStore
from recray.stores.online import OnlineStore
from recray.stores.redis import RedisStore
from recray.stores.resp_cluster import CLUSTER, is_cluster

_CLIENT_SCHEMES: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}


def open_store(settings: StoreSettings, url: str) -> OnlineStore:
    """The store at a URL; nothing is connected before the first call, which raises `StoreError` if nobody answers.

    `memory://` is a store in this process alone. `redis://`, `valkey://` (plain), `rediss://`, `valkeys://` (TLS) and
    `unix://` (a socket's path) name a server. `redis+cluster://host:port,host:port` (and likewise the other three) names some
    nodes of a cluster, which tell of the rest.

    Raises:
        ConfigError: the URL has none of these forms.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStore(settings, time.monotonic)
    scheme = parts.scheme.removesuffix(CLUSTER)
    named = bool(parts.netloc.rpartition("@")[2] if is_cluster(url) else parts.hostname or scheme == "unix")
    if scheme in _CLIENT_SCHEMES and named and not (is_cluster(url) and scheme == "unix"):
        return RedisStore(_CLIENT_SCHEMES[scheme] + url[len(scheme) :], settings)
    shown = url.rpartition("@")[2]  # what precedes it may be a password
    raise ConfigError(
        f"store.url is {shown!r}; expected memory://, redis://[user:password@]host:port/db, rediss://..., valkey://..., "
        "valkeys://..., unix:///path/to/socket, or redis+cluster://[user:password@]host:port,host:port and its three kin"
    )

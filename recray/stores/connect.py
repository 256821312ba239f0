"""Which store a URL means."""

import time
from typing import Final
from urllib.parse import urlsplit

from recray.errors import ConfigError
from recray.settings import StoreSettings
from recray.stores.memory import MemoryStore
from recray.stores.online import OnlineStore
from recray.stores.redis import RedisStore

_CLIENT_SCHEMES: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}


def open_store(settings: StoreSettings, url: str) -> OnlineStore:
    """The store at a URL; nothing is connected before the first call, which raises `StoreError` if nobody answers.

    `memory://` is a store in this process alone. `redis://`, `valkey://` (plain), `rediss://`, `valkeys://` (TLS) and
    `unix://` (a socket's path) name a server.

    Raises:
        ConfigError: the URL has none of these forms.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStore(settings, time.monotonic)
    if parts.scheme in _CLIENT_SCHEMES and (parts.hostname or parts.scheme == "unix"):
        return RedisStore(_CLIENT_SCHEMES[parts.scheme] + url[len(parts.scheme) :], settings)
    shown = url.rpartition("@")[2]  # what precedes it may be a password
    raise ConfigError(
        f"store.url is {shown!r}; expected memory://, redis://[user:password@]host:port/db, rediss://..., valkey://..., "
        "valkeys://... or unix:///path/to/socket"
    )

import re

import pytest

from recray.errors import ConfigError
from recray.settings import StoreSettings
from recray.stores.connect import open_store
from recray.stores.memory import MemoryStore
from recray.stores.redis import RedisStore


def test_memory_url_opens_a_store_of_this_process() -> None:
    assert isinstance(open_store(StoreSettings(), "memory://"), MemoryStore)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis://h:1/0",
            "rediss://h:1/0",
            "valkey://h",
            "valkeys://u:p@h:1",
            "unix:///tmp/s.sock",
            "unix://:p@/tmp/s.sock?db=1",
        ),
        *("redis+cluster://h:1,i:2", "rediss+cluster://u:p%2C@h", "valkey+cluster://h:1/0", "valkeys+cluster://:p@h:1,i:2"),
    ],
)
def test_server_urls_open_a_client_without_connecting(url: str) -> None:
    assert isinstance(open_store(StoreSettings(), url), RedisStore)


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://h", "redis://", "redis:6379", "redis+cluster://", "unix+cluster:///s"]
)
def test_other_urls_are_refused_naming_the_forms(url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"store.url is {url!r}; expected memory://, redis://")):
        open_store(StoreSettings(), url)


@pytest.mark.parametrize(
    "url",
    ["http://user:hunter2@h", "redis://user:hunter2@h:port/0", "redis+cluster://u:hunter2@h:p", "redis+cluster://:hunter2@h/3"],
)
def test_refusal_never_shows_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        open_store(StoreSettings(), url)
    assert "hunter2" not in str(refusal.value)

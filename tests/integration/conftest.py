"""What must be in the environment before anything here imports Ray, and one small Ray for all tests of a process."""

import os
import time
from collections.abc import Iterator

import pytest

from recray.serving.environment import is_free, prepare
from recray.settings.reach import HAPROXY_PORTS

_QUIET_S = 60.0


def pytest_configure(config: pytest.Config) -> None:
    # Not in a process that only hands tests out: those that run them would inherit its ports and its token, and share them.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", default=None):
        prepare(os.environ)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Shared, for starting it takes longer than most of these tests."""
    import ray

    ray.init(num_cpus=8, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def local_serve(local_ray: None) -> Iterator[None]:
    """Ray Serve for one file; what served before may still be closing HAProxy's ports, which are this process's."""
    from ray import serve

    deadline_s = time.monotonic() + _QUIET_S
    while not all(is_free(int(os.environ[name]), "") for name in HAPROXY_PORTS if name in os.environ):
        assert time.monotonic() < deadline_s, "HAProxy's ports stay taken"
        time.sleep(0.2)
    yield
    serve.shutdown()

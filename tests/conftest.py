"""Fixtures every folder may use. Folder-specific promises live in each folder's own conftest."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a shared machine may pause in the middle of any example. The same examples in every run.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("WANDB_MODE", "offline")


_LONGEST_FIRST = ("tests/e2e", "test_faults", "test_freshness", "test_fit_on_ray", "test_search", "test_bench_serve")
"""Begun in this order when several processes share the tests: what takes minutes must not be left over for one of them."""


@pytest.hookimpl(tryfirst=True)  # the groups are read at the same occasion
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests together, and all that ask the one application of tests/e2e."""

    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(_LONGEST_FIRST) if name in item.nodeid), len(_LONGEST_FIRST))

    items.sort(key=place)
    for item in items:
        name = "tests/e2e" if "tests/e2e" in item.nodeid else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Where original archives lie; a test that needs one that is not there skips and says which."""
    return Path(os.environ.get("RECRAY_DATA_DIR", Path.home() / ".cache" / "recray"))

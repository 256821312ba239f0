"""Fixtures every folder may use. Folder-specific promises live in each folder's own conftest."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler.loadfile import LoadFileScheduling

# No deadline: a shared machine may pause in the middle of any example. The same examples in every run.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("WANDB_MODE", "offline")


_LONGEST_FIRST = ("tests/e2e", "test_faults", "test_freshness", "test_fit_on_ray", "test_search", "test_two_applications")
"""Begun in this order when several processes share the tests: what takes minutes must not be left over for one of them."""


class _ByApplication(LoadFileScheduling):
    """A file's tests in one process, and in one all that ask the application of tests/e2e."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/e2e" if nodeid.startswith("tests/e2e/") else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _ByApplication(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""

    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(_LONGEST_FIRST) if name in item.nodeid), len(_LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Where original archives lie; a test that needs one that is not there skips and says which."""
    return Path(os.environ.get("RECRAY_DATA_DIR", Path.home() / ".cache" / "recray"))

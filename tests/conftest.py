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


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Where original archives lie; a test that needs one that is not there skips and says which."""
    return Path(os.environ.get("RECRAY_DATA_DIR", Path.home() / ".cache" / "recray"))

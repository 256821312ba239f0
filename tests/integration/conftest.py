"""What must be in the environment before anything here imports Ray."""

import os

import pytest

from recray.serving.environment import prepare


def pytest_configure(config: pytest.Config) -> None:
    # Not in a process that only hands tests out: those that run them would inherit its ports and its token, and share them.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", default=None):
        prepare(os.environ)

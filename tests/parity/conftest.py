"""One bundle for the folder's tests of parity."""

import pytest

from bundle_world import BundleWorld, made


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return made(tmp_path_factory, "parity")

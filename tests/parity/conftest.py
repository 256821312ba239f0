"""One bundle for the folder's tests of parity."""

import pytest

from bundle_world import BundleWorld, make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> BundleWorld:
    return make(tmp_path_factory.mktemp("bundle-world"))

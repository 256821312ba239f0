"""Giving a publication to a store in a process of its own, to be killed; importable by the process that forks it."""

from pathlib import Path

from recray.data.publish import finish_publishing, roll_back
from recray.settings import StoreSettings
from recray.stores.lake import Lake
from recray.stores.redis import RedisStore


def give(root: str, url: str, *, back: bool) -> None:
    """Go on with a publication, or begin to take one back, until it is done or killed."""
    work = roll_back if back else finish_publishing
    work(Lake(Path(root)), "tiny", RedisStore(url, StoreSettings(timeout_s=10.0)))

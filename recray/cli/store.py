"""Which online store a command uses: the one that the settings name, or the embedded one, started for as long as needed."""

from collections.abc import Iterator
from contextlib import contextmanager

from recray.settings import Settings
from recray.stores.embedded import EmbeddedStore


@contextmanager
def store_of(settings: Settings) -> Iterator[str]:
    """The store's URL. An embedded server that this command started ends with it; one that runs already is joined."""
    if settings.store.url:
        yield settings.store.url
        return
    with EmbeddedStore.start(settings.home, settings.store.port) as store:
        yield store.url

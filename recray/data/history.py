"""One imported data set as training reads it: titles, interactions, periods of time, and the catalogue as of a moment."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from recray.catalog.content import content_vectors
from recray.catalog.titles import WATCHED, build_items, interactions
from recray.data.split import Boundaries, time_split
from recray.features.interactions import Interactions
from recray.features.items import Items
from recray.schema import Floats, ProfileKey
from recray.settings import Settings
from recray.stores.lake import Lake, Snapshot


@dataclass(frozen=True)
class History:
    """A data set in memory, but for its raw events, which Ray Data reads from the files of `snapshot`.

    `content` [n_titles, dim] are the content vectors, which do not depend on time; `keys` says who profile 0, 1, ... is.
    """

    name: str
    manifest: Mapping[str, object]
    titles: pa.Table
    availability: pa.Table
    profiles: pa.Table
    plays: Interactions
    keys: list[ProfileKey]
    number_of: dict[str, int]
    content: Floats
    snapshot: Snapshot
    periods: Boundaries

    def until(self, moment_s: int) -> Interactions:
        """Interactions strictly before a moment."""
        return self.plays.where(self.plays.at_s < moment_s)

    def between(self, start_s: int, end_s: int) -> Interactions:
        """Interactions in [start, end)."""
        return self.plays.where((self.plays.at_s >= start_s) & (self.plays.at_s < end_s))

    def catalogue(self, moment_s: int) -> Items:
        """The catalogue with statistics as of a moment: nothing later is counted."""
        return build_items(self.titles, self.availability, self.until(moment_s), moment_s, self.content)


def open_history(lake: Lake, name: str, settings: Settings) -> History:
    """Read a data set out of the lake and divide its time.

    Raises:
        DataError: the lake does not hold it, or a table is damaged.
    """
    titles, availability, profiles = (lake.table(name, table) for table in ("titles", "availability", "profiles"))
    number_of = {content_id: number for number, content_id in enumerate(titles["content_id"].to_pylist())}
    regions = sorted(set(availability["region"].to_pylist()))
    plays, keys = interactions(lake.events(name, columns=WATCHED), number_of, profiles, regions)
    return History(
        name=name,
        manifest=lake.manifest(name),
        titles=titles,
        availability=availability,
        profiles=profiles,
        plays=plays,
        keys=keys,
        number_of=number_of,
        content=content_vectors(titles, settings.sources.content_dim, settings.training.seed),
        snapshot=lake.snapshot(name),
        periods=time_split(plays.at_s, settings.split),
    )

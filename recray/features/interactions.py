"""Who watched what when, as columns: what candidate sources are fitted on and item statistics are counted from."""

from dataclasses import dataclass

import numpy as np

from recray.schema import Bools, Floats, Ints, Longs


@dataclass(slots=True)
class Interactions:
    """Who watched what when, for fitting: parallel arrays sorted by (profile, time), one row per watching event.

    `profile` int32 numbers 0..n_profiles-1, `item` title numbers, `at_s` int64, `weight` float32 (1 for a plain watch; less
    for an abandoned or badly rated one), `rating` stars (NaN when none), `progress` share watched (NaN when unknown), `region`
    int32 number of the profile's region in the order of the catalogue's `region_names` (-1 unknown).
    """

    profile: Ints
    item: Ints
    at_s: Longs
    weight: Floats
    rating: Floats
    progress: Floats
    region: Ints
    n_profiles: int
    n_items: int

    def __len__(self) -> int:
        return len(self.item)

    def where(self, kept: Bools) -> "Interactions":
        """The rows for which `kept` [n] is true; profile and item numbers stay as they are."""
        return Interactions(
            self.profile[kept],
            self.item[kept],
            self.at_s[kept],
            self.weight[kept],
            self.rating[kept],
            self.progress[kept],
            self.region[kept],
            self.n_profiles,
            self.n_items,
        )

    def bounds(self) -> Longs:
        """Row offsets [n_profiles + 1] of each profile's stretch."""
        return np.searchsorted(self.profile, np.arange(self.n_profiles + 1)).astype(np.int64)

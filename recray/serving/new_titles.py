"""Which titles of a bundle are new, read from the registry without the rest of the bundle being restored."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recray.catalog.titles import from_files
from recray.features.items import LONG_AGO
from recray.features.tally import title_digests
from recray.schema import Words
from recray.stores.registry import Registry

_DAY_S: Final = 86_400
_KEPT: Final = 4


@dataclass
class NewTitles:
    """State: the titles of the last few bundles asked for. Used by one thread at a time."""

    registry: Registry
    new_release_days: float
    _known: dict[str, Words] = field(default_factory=dict)

    def digests(self, bundle_id: str) -> Words:
        """Digest of each title of a bundle [n] uint64; 0 for those that were not new when its sources were fitted.

        Raises:
            ModelError: there is no such bundle, or it cannot be read.
        """
        if bundle_id not in self._known:
            items, _ = from_files(self.registry.read(bundle_id)[1])
            began_s = np.maximum(items.release_at_s, items.added_at_s)
            new = (began_s != LONG_AGO) & (began_s >= items.as_of_s - self.new_release_days * _DAY_S)
            kept = list(self._known.items())[1 - _KEPT :]
            self._known = dict(kept) | {bundle_id: np.where(new, title_digests(items.content_ids), np.uint64(0))}
        return self._known[bundle_id]

"""A version of the tally as a bundle's sources read it: by title number and region, as of one moment."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from recray.features.items import Items
from recray.features.tally import SHOWN, Tally
from recray.schema import Bools, Floats, Ints, Words

_DAY_S: Final = 86_400.0


@dataclass(repr=False)
class Live:
    """What was counted since the bundle's sources were fitted. `titles` are the digests of the bundle's content ids, in order.

    What the bundle does not know is left out: titles altogether, regions but for the world. Half lives are in days.
    """

    tally: Tally
    items: Items
    titles: Words
    at_s: int
    _known: dict[tuple[float, bool], Floats] = field(default_factory=dict)

    @property
    def fitted_at_s(self) -> int:
        """The moment up to which the fitted counts know; an imported clock that runs ahead of this one counts as its start."""
        as_of_s = self.items.as_of_s
        return as_of_s if as_of_s < self.at_s else self.tally.since_s

    def fade(self, half_life_days: float) -> float:
        """What a count as of the fit is worth now.

        Time between the fit's last event and the first one counted does not age it: nothing is known of what was watched then.
        """
        age_s = max(self.at_s - max(self.fitted_at_s, self.tally.since_s), 0)
        return float(np.exp2(-age_s / _DAY_S / half_life_days))

    def watched(self, half_life_days: float, *, ever: bool = False) -> Floats:
        """Decayed watches since the fit, or since counting began, [1 + n_regions, n_items] float32: the world, then regions."""
        if (half_life_days, ever) not in self._known:
            self._known[half_life_days, ever] = self._watched(half_life_days, ever=ever)
        return self._known[half_life_days, ever]

    def _watched(self, half_life_days: float, *, ever: bool) -> Floats:
        n_rows, n = 1 + len(self.items.region_names), self.items.n
        kept = self._item >= 0
        kept &= self.tally.region != SHOWN
        worth = self._worth(half_life_days, ever=ever)[kept]
        item, row = self._item[kept].astype(np.int64), self._row[self.tally.region[kept]]
        counts = np.zeros((n_rows, n), np.float32)
        counts[0] = np.bincount(item, worth, n)
        placed = row > 0
        counts[1:] = np.bincount((row[placed] - 1) * n + item[placed], worth[placed], (n_rows - 1) * n).reshape(-1, n)
        return counts

    def shown(self, half_life_days: float) -> Floats:
        """Decayed accounts that each title was shown to since the fit [n_items] float32."""
        kept = (self._item >= 0) & (self.tally.region == SHOWN)
        worth = self._worth(half_life_days, ever=False)[kept]
        return np.bincount(self._item[kept], worth, self.items.n).astype(np.float32)

    def _worth(self, half_life_days: float, *, ever: bool) -> Floats:
        from_s = -1 if ever else self.fitted_at_s
        return self.tally.decayed(half_life_days * _DAY_S, self.at_s, from_s)

    @cached_property
    def _item(self) -> Ints:
        """Title number of each row of the tally, -1 where the bundle has no such title."""
        order = np.argsort(self.titles)
        place = np.minimum(np.searchsorted(self.titles, self.tally.titles, sorter=order), self.titles.size - 1)
        number = order[place]
        known: Bools = self.titles[number] == self.tally.titles
        return np.append(np.where(known, number, -1), -1).astype(np.int32)[self.tally.title]

    @cached_property
    def _row(self) -> Ints:
        """Row of each region of the tally; 0, the world's alone, where the bundle has no such region."""
        return np.array([1 + self.items.region(name) for name in self.tally.regions], np.int64)

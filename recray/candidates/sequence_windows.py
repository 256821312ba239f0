"""Watch histories as the sequence model reads them: stretches of titles and, where they count, of times."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from recray.candidates.history import first_of_each
from recray.features.interactions import Interactions
from recray.schema import Ints, Longs

N_GAPS: Final = 64
"""Sizes of gaps that are told apart; each but the first and the last is 1.35 times the one before."""
TEMPERATURE: Final = 0.05
"""What cosines are divided by to be logits."""
Report = Callable[[dict[str, float]], None]
"""Called after each epoch of a fit with its figures."""
_STEP: Final = 0.301


def gap_size(gap_s: Longs) -> Ints:
    """Size int32 of gaps in seconds: 0 for none (or a negative one), 63 from 3.6 years on, logarithmic between [Zhai2024]."""
    size = 1 + np.log(np.maximum(gap_s, 1)) / _STEP
    return np.where(gap_s > 0, np.minimum(size, N_GAPS - 1), 0).astype(np.int32)


@dataclass(slots=True)
class Batch:
    """Windows side by side, padded at the end: `titles` [B, L] that are known, `gaps` [B, L] int64 and what follows each.

    `gaps` are sizes of the time from each title to the one that follows it, which is in `targets` [B, L].
    """

    titles: Longs
    gaps: Longs
    targets: Longs


@dataclass(slots=True)
class Windows:
    """Stretches of histories in flat arrays: window w is `item[start[w] : start[w] + length[w]]`, oldest first."""

    item: Ints
    at_s: Longs
    start: Longs
    length: Longs

    def batch(self, chosen: Longs, padding: int) -> Batch:
        """The chosen windows; the last title of each is only a target."""
        place = np.arange(int(self.length[chosen].max()))
        inside = place < self.length[chosen, None]
        row = np.where(inside, self.start[chosen, None] + place, 0)
        titles, at_s = np.where(inside, self.item[row], padding).astype(np.int64), self.at_s[row]
        last = ~inside[:, 1:]
        gaps = gap_size(np.where(last, 0, np.diff(at_s, axis=1))).astype(np.int64)
        return Batch(np.where(last, padding, titles[:, :-1]), gaps, titles[:, 1:])


def windows(interactions: Interactions, max_length: int) -> Windows:
    """Cut histories, counted from their newest end, so that each transition between titles lies in exactly one window.

    A title counts when it is first watched: what is to be foretold is a start, and repeats are excluded when served.
    """
    kept = interactions.where(first_of_each(interactions))
    bounds = kept.bounds()
    n_windows = np.maximum(-(-(np.diff(bounds) - 1) // max_length), 0)
    whose = np.repeat(np.arange(kept.n_profiles), n_windows)
    back = np.arange(whose.size) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    end = bounds[whose + 1] - back * max_length
    start = np.maximum(end - max_length - 1, bounds[whose])
    return Windows(kept.item, kept.at_s, start, end - start)

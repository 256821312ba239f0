"""Where and when a title may be shown: availability rows as one licence interval per title and region."""

import numpy as np
import pandas as pd
import pyarrow as pa

from recray.catalog.columns import codes, look_up, seconds
from recray.features.items import FOREVER, LONG_AGO
from recray.schema import Longs


def licences(titles: pa.Table, availability: pa.Table, as_of_s: int) -> tuple[tuple[str, ...], Longs, Longs]:
    """Regions, and the one licence interval [n_regions, n] of each title that matters from `as_of_s` on.

    Overlapping and touching windows merge. Of several separate intervals the one that contains `as_of_s` counts, otherwise the
    next one, otherwise the last; a later gap ends the licence until the next bundle. Without a window a title is never shown.
    """
    n = titles.num_rows
    regions, region = codes(availability["region"])
    from_s = np.full(len(regions) * n, FOREVER)
    until_s = np.full(len(regions) * n, LONG_AGO)
    number_of = {content_id: number for number, content_id in enumerate(titles["content_id"].to_pylist())}
    title = look_up(availability["content_id"], number_of)
    start, end = seconds(availability["start_at"], LONG_AGO), seconds(availability["end_at"], FOREVER)
    usable = (title >= 0) & (start < end)
    cell, start, end = (region.astype(np.int64) * n + title)[usable], start[usable], end[usable]
    order = np.lexsort((start, cell))
    cell, start, end = cell[order], start[order], end[order]
    latest = pd.Series(end).groupby(cell).cummax().to_numpy()
    begins = np.ones(cell.size, np.bool_)
    begins[1:] = (cell[1:] != cell[:-1]) | (start[1:] > latest[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], cell.size) - 1 if first.size else first
    cell, start, end = cell[first], start[first], latest[last]
    # What is written last stays: of what is not over the earliest, otherwise of what is over the latest.
    chosen = np.concatenate((np.flatnonzero(end <= as_of_s), np.flatnonzero(end > as_of_s)[::-1]))
    from_s[cell[chosen]], until_s[cell[chosen]] = start[chosen], end[chosen]
    return regions, from_s.reshape(len(regions), n), until_s.reshape(len(regions), n)

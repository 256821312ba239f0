"""Rows of one homepage out of one ranked candidate set: in template order, no title twice."""

from dataclasses import dataclass

import numpy as np

from recray.pages.rows import TEMPLATES, Row, View
from recray.schema import Longs


@dataclass(slots=True, frozen=True)
class PageRow:
    """One row as it is shown: `places` index the request's candidates, in order of position."""

    row: Row
    places: Longs


def homepage(view: View, n_rows: int, row_size: int) -> list[PageRow]:
    """Up to `n_rows` rows of up to `row_size` titles, each row once.

    A title stays in the first row that has it; a row that has fewer than its minimum left is not shown and frees its titles.
    """
    page: list[PageRow] = []
    used = np.zeros(view.candidates.items.shape[1], np.bool_)
    for template in TEMPLATES:
        for row in template(view):
            if len(page) == n_rows:
                return page
            if any(row.row_id == shown.row.row_id for shown in page):
                continue
            free = row.places[~used[row.places]][:row_size]
            if free.size >= row.min_items:
                used[free] = True
                page.append(PageRow(row, free))
    return page

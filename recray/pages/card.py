"""What every answer says of a title, as JSON that is written once per bundle."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import orjson

from recray.features.items import LONG_AGO, Items
from recray.schema import Kind, word


@dataclass(slots=True, repr=False)
class Cards:
    """JSON members of titles by number, without braces; a title's are written when it is first shown.

    State: what was written. Two threads that write the same one write the same bytes.
    """

    items: Items
    _written: dict[int, bytes] = field(default_factory=dict)

    def __getitem__(self, number: int) -> bytes:
        written = self._written.get(number)
        if written is None:
            written = self._written[number] = orjson.dumps(self._facts(number))[1:-1]
        return written

    def _facts(self, number: int) -> dict[str, object]:
        items = self.items
        released = int(items.release_at_s[number])
        return {
            "content_id": items.content_ids[number],
            "name": items.names[number],
            "kind": word(Kind(int(items.kind[number]))),
            "genres": [items.genre_names[int(genre)] for genre in np.flatnonzero(items.genres[number])],
            "year": None if released == LONG_AGO else datetime.fromtimestamp(released, UTC).year,
            "maturity": int(items.maturity[number]),
        }

"""What the viewer began and has not finished."""

from typing import Any, ClassVar, Self

import numpy as np

from recray.candidates.source import Ask, nothing
from recray.features.items import Items
from recray.schema import NO_ITEM, Page, Retrieved, Tensors


class Resume:
    """Continue watching, most recent first; on the homepage only."""

    name: ClassVar[str] = "resume"

    def retrieve(self, ask: Ask, k: int) -> Retrieved:
        """Unfinished titles among `ask.resumable`; the score is 1 / rank, so it tells of recency and nothing else."""
        at_home = ask.requests.page == Page.HOMEPAGE
        if not at_home.any():
            return nothing(len(at_home))
        unfinished = ask.profiles.unfinished
        offered = (unfinished >= 0) & (unfinished < ask.resumable.shape[1]) & at_home[:, None]
        offered &= np.take_along_axis(ask.resumable, np.where(offered, unfinished, 0), axis=1)
        place = np.cumsum(offered, axis=1) - 1
        row, slot = np.nonzero(offered & (place < k))
        if not row.size:
            return nothing(len(offered))
        place = place[row, slot]
        items = np.full((len(offered), int(place.max()) + 1), NO_ITEM, np.int32)
        scores = np.full(items.shape, -np.inf, np.float32)
        items[row, place] = unfinished[row, slot]
        scores[row, place] = 1 / (1 + place)
        return Retrieved(items, scores, np.full(items.shape, NO_ITEM, np.int32))

    def tensors(self) -> Tensors:
        return {}

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restore(cls, tensors: Tensors, config: dict[str, Any], items: Items) -> Self:
        return cls()

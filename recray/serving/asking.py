"""HTTP parameters as a batch of one request, and a served request back from its log."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recray.features.items import Items
from recray.schema import DEVICE_OF, KIND_OF, NO_ITEM, PAGE_OF, Device, Kind, Page, ProfileKey, Requests, word


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the caller put it; JSON values only, so that it can be logged and asked again."""

    page: str
    user_id: str
    profile_id: str
    n_items: int
    n_rows: int = 1
    device: str = word(Device.OTHER)
    region: str | None = None
    watched_content_id: str | None = None
    query: str = ""
    category: str = ""
    content_types: tuple[str, ...] = ()
    exclude_watched: bool = True

    def facts(self) -> dict[str, Any]:
        """What is logged, to be read back by `Asked(**facts)`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def one(asked: Asked, recommendation_id: str, now_s: int, items: Items) -> Requests:
    """A batch of one request.

    Raises:
        UnknownTitleError: the title just watched is not in the catalogue.
    """
    seed = NO_ITEM if asked.watched_content_id is None else items.number(asked.watched_content_id)
    kinds = sum({1 << KIND_OF[name] for name in asked.content_types})
    return Requests(
        keys=[ProfileKey(asked.user_id, asked.profile_id)],
        ids=[recommendation_id],
        now_s=np.array([now_s], np.int64),
        page=np.array([PAGE_OF[asked.page]], np.uint8),
        device=np.array([DEVICE_OF[asked.device]], np.uint8),
        n_items=np.array([asked.n_items], np.int32),
        n_rows=np.array([asked.n_rows], np.int32),
        seed_item=np.array([seed], np.int32),
        kinds=np.array([kinds], np.uint8),
        exclude_watched=np.array([asked.exclude_watched]),
        region=[asked.region],
        query=[asked.query],
        category=[asked.category],
    )


KINDS = tuple(word(kind) for kind in Kind)
DEVICES = tuple(word(device) for device in Device)
PAGES = tuple(word(page) for page in Page)

"""HTTP parameters as a batch of one request, and a served request back from its log."""

from collections.abc import Sequence
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

    @property
    def key(self) -> ProfileKey:
        return ProfileKey(self.user_id, self.profile_id)

    def facts(self) -> dict[str, Any]:
        """What is logged, to be read back by `Asked(**facts)`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was found to be answerable: who asks what, under which id and as of when, after which title."""

    asked: Asked
    recommendation_id: str
    now_s: int
    seed_item: int


def question(asked: Asked, recommendation_id: str, now_s: int, items: Items) -> Question:
    """A request with the title just watched looked up.

    Raises:
        UnknownTitleError: it is not in the catalogue.
    """
    seed = NO_ITEM if asked.watched_content_id is None else items.number(asked.watched_content_id)
    return Question(asked, recommendation_id, now_s, seed)


def batch(questions: Sequence[Question]) -> Requests:
    """Requests side by side, in the order given."""
    asked = [one.asked for one in questions]
    return Requests(
        keys=[one.key for one in asked],
        ids=[one.recommendation_id for one in questions],
        now_s=np.array([one.now_s for one in questions], np.int64),
        page=np.array([PAGE_OF[one.page] for one in asked], np.uint8),
        device=np.array([DEVICE_OF[one.device] for one in asked], np.uint8),
        n_items=np.array([one.n_items for one in asked], np.int32),
        n_rows=np.array([one.n_rows for one in asked], np.int32),
        seed_item=np.array([one.seed_item for one in questions], np.int32),
        kinds=np.array([sum({1 << KIND_OF[name] for name in one.content_types}) for one in asked], np.uint8),
        exclude_watched=np.array([one.exclude_watched for one in asked], np.bool_),
        region=[one.region for one in asked],
        query=[one.query for one in asked],
        category=[one.category for one in asked],
    )


def one(asked: Asked, recommendation_id: str, now_s: int, items: Items) -> Requests:
    """A batch of one request.

    Raises:
        UnknownTitleError: the title just watched is not in the catalogue.
    """
    return batch([question(asked, recommendation_id, now_s, items)])


KINDS = tuple(word(kind) for kind in Kind)
DEVICES = tuple(word(device) for device in Device)
PAGES = tuple(word(page) for page in Page)

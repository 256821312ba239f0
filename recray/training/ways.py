"""The same replayed requests answered in several ways through the path that serves: only how scores become a slate differs."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from recray.bundle import Bundle
from recray.data.replay import Moment, asked
from recray.experiments.assign import Assignment
from recray.recommend import recommend
from recray.schema import Floats, Ints, ProfileKey, ProfileSettings
from recray.settings import Settings
from recray.training.judge import Held, shown, unrestricted_bundle

_BATCH: Final = 32


@dataclass(slots=True, frozen=True, eq=False)
class Way:
    """Differences of the slate's settings, and the priority of each title [n_items] where it is not the catalogue's."""

    slate: Mapping[str, Any] = field(default_factory=dict)
    priority: Floats | None = None

    def over(self, bundle: Bundle) -> Bundle:
        """The bundle with the priorities of this way."""
        if self.priority is None:
            return bundle
        return dataclasses.replace(bundle, items=dataclasses.replace(bundle.items, priority=self.priority))


def halves(n: int) -> dict[str, slice]:
    """All of n requests in order of time, and the earlier half of them apart from the later."""
    return {"all": slice(None), "first_half": slice(0, n // 2), "second_half": slice(n // 2, None)}


def lists_by(
    ways: Sequence[Way],
    bundle: Bundle,
    moments: Sequence[Moment],
    profiles: Mapping[ProfileKey, ProfileSettings],
    settings: Settings,
) -> tuple[list[Ints], Ints]:
    """The first k titles [n, k] of each request in the bundle's chosen order, for every way; and what was watched [n, H]."""
    bundle = unrestricted_bundle(bundle)
    bundles = [way.over(bundle) for way in ways]
    found: list[list[Ints]] = [[] for _ in ways]
    histories: list[Ints] = []

    async def listed() -> None:
        for start in range(0, len(moments), _BATCH):
            batch = moments[start : start + _BATCH]
            own = [profiles.get(moment.key, ProfileSettings()) for moment in batch]
            requests, known = asked(batch, own, settings.evaluation.k)
            held = Held(bundle, known, settings)
            histories.append(known.history)
            for lists, way, own_bundle in zip(found, ways, bundles, strict=True):
                arms = [Assignment(slate=way.slate)] * requests.n
                parts = dataclasses.replace(held, bundle=own_bundle).parts()
                lists.append(shown(await recommend(requests, parts, assignments=arms), settings.evaluation.k))

    with threadpool_limits(1):
        asyncio.run(listed())
    return [np.concatenate(lists) for lists in found], np.concatenate(histories)

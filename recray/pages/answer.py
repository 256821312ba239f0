"""One answer: what was chosen and why, and how it reads as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recray.features.items import LONG_AGO, Items
from recray.features.profiles import Profiles
from recray.pages.explain import evidence, leading_source, reason
from recray.pages.page import PageRow
from recray.schema import Candidates, Floats, Kind, Longs, Objective, Page, word


@dataclass(slots=True, repr=False)
class Answer:
    """What one request is answered with.

    `row` is the request's place in the batch that `candidates` and `profiles` hold; `scores` [K] and `p` [K, n_objectives] are
    its own. A homepage has `rows`, every other page `places` (indices of candidates in order of position); `propensity`
    [n] belongs to the slate's positions.
    """

    recommendation_id: str
    page: Page
    row: int
    items: Items
    candidates: Candidates
    profiles: Profiles
    scores: Floats
    p: Floats
    places: Longs
    propensity: Floats
    rows: list[PageRow]
    bundle_id: str
    arms: Mapping[str, str]
    algorithm: str
    slate: Mapping[str, Any]
    region: str | None
    degraded: list[str] = field(default_factory=list)
    took_ms: dict[str, float] = field(default_factory=dict)

    def shown(self) -> Longs:
        """Places of every candidate shown, in page order."""
        if self.page != Page.HOMEPAGE:
            return self.places
        return np.concatenate([row.places for row in self.rows]) if self.rows else np.empty(0, np.int64)


def present(answer: Answer) -> dict[str, Any]:
    """The answer as JSON values."""
    envelope: dict[str, Any] = {
        "recommendation_id": answer.recommendation_id,
        "page": word(answer.page),
        "algorithm_version": f"{answer.bundle_id}/{answer.algorithm}",
        "experiments": dict(answer.arms),
        "degraded": answer.degraded,
        "took_ms": {stage: round(ms, 3) for stage, ms in answer.took_ms.items()},
        "profile": {
            "known": bool(answer.profiles.present[answer.row].any()),
            "n_events": int(answer.profiles.present[answer.row].sum() + answer.profiles.counters[answer.row, :16].sum()),
        },
    }
    if answer.page != Page.HOMEPAGE:
        return envelope | {"recommendations": _list(answer, answer.places, None)}
    rows = [
        {
            "row_id": shown.row.row_id,
            "title": shown.row.title,
            "reason": shown.row.reason,
            "items": _list(answer, shown.places, shown.row.item_reason),
        }
        for shown in answer.rows
    ]
    return envelope | {"rows": rows}


def _list(answer: Answer, places: Longs, row_reason: str | None) -> list[dict[str, Any]]:
    return [_item(answer, int(place), position, row_reason) for position, place in enumerate(places)]


def _item(answer: Answer, place: int, position: int, row_reason: str | None) -> dict[str, Any]:
    items, number = answer.items, int(answer.candidates.items[answer.row, place])
    released = int(items.release_at_s[number])
    return {
        "content_id": items.content_ids[number],
        "name": items.names[number],
        "score": round(float(answer.scores[place]), 6),
        "position": position,
        "reason": row_reason or reason(answer.candidates, answer.row, place, items.names.__getitem__),
        "source": leading_source(answer.candidates, answer.row, place),
        "kind": word(Kind(int(items.kind[number]))),
        "genres": [items.genre_names[int(g)] for g in np.flatnonzero(items.genres[number])],
        "year": None if released == LONG_AGO else datetime.fromtimestamp(released, UTC).year,
        "maturity": int(items.maturity[number]),
        "progress": _progress(answer, number),
    }


def _progress(answer: Answer, number: int) -> float | None:
    mine = (answer.profiles.items[answer.row] == number) & answer.profiles.watching[answer.row]
    slots = np.flatnonzero(mine)
    return round(float(answer.profiles.progress[answer.row, slots[0]]), 3) if slots.size else None


def explained(answer: Answer) -> dict[str, Any]:
    """Numbers behind an answer: per title its probabilities, sources and seed; and what filters took out, with reasons."""
    items, row = answer.items, answer.row
    shown = []
    for position, place in enumerate(answer.shown()):
        number = int(answer.candidates.items[row, place])
        shown.append(
            {
                "content_id": items.content_ids[number],
                "name": items.names[number],
                "position": position,
                "score": round(float(answer.scores[place]), 6),
                "p": {word(objective): round(float(answer.p[place, objective]), 6) for objective in Objective},
                **evidence(answer.candidates, row, int(place), items),
            }
        )
    why: dict[int, list[str]] = {}
    for at, number, name in answer.candidates.dropped:
        if at == row:
            why.setdefault(number, []).append(name)
    dropped = [{"content_id": items.content_ids[n], "name": items.names[n], "reasons": r} for n, r in why.items()]
    return {"recommendation_id": answer.recommendation_id, "items": shown, "dropped": dropped, "bundle_id": answer.bundle_id,
            "arms": dict(answer.arms), "degraded": answer.degraded}  # fmt: skip

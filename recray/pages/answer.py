"""One answer: what was chosen and why, and how it reads as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import orjson

from recray.features.items import Items
from recray.features.profiles import Profiles
from recray.pages.card import Cards
from recray.pages.explain import evidence, leading_sources, reasons_of
from recray.pages.page import PageRow
from recray.schema import NO_ITEM, Candidates, Floats, Ints, Longs, Objective, Page, word


@dataclass(slots=True, repr=False)
class Answer:
    """What one request is answered with.

    `row` is the request's place in the batch that `candidates` and `profiles` hold; `scores` [K] and `p` [K, n_objectives] are
    its own, and `p` are probabilities where a ranker `predicted` them. `ranker` is what the arm asked for, `algorithm` what it
    got. A homepage has `rows`, every other page `places` (indices of candidates in order of position); `propensity` [n]
    belongs to the slate's positions.
    """

    recommendation_id: str
    page: Page
    row: int
    items: Items
    cards: Cards
    candidates: Candidates
    profiles: Profiles
    scores: Floats
    p: Floats
    places: Longs
    propensity: Floats
    rows: list[PageRow]
    bundle_id: str
    arms: Mapping[str, str]
    ranker: str | None
    algorithm: str
    predicted: bool
    slate: Mapping[str, Any]
    region: str | None
    degraded: list[str] = field(default_factory=list)
    took_ms: dict[str, float] = field(default_factory=dict)

    def shown(self) -> Longs:
        """Places of every candidate shown, in page order."""
        if self.page != Page.HOMEPAGE:
            return self.places
        return np.concatenate([row.places for row in self.rows]) if self.rows else np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as JSON, and what those who pass it on must know of it."""

    recommendation_id: str
    whole: bool
    body: bytes


def written(answer: Answer, **more: Any) -> Written:
    """The answer as JSON, with `more` members of the envelope; `whole` unless a stage degraded."""
    return Written(answer.recommendation_id, not answer.degraded, orjson.dumps(_present(answer, more)))


def _present(answer: Answer, more: Mapping[str, Any]) -> dict[str, Any]:
    events = answer.profiles.present[answer.row].sum() + answer.profiles.counters[answer.row, :16].sum()
    envelope: dict[str, Any] = {
        "recommendation_id": answer.recommendation_id,
        "page": word(answer.page),
        "algorithm_version": f"{answer.bundle_id}/{answer.algorithm}",
        "experiments": dict(answer.arms),
        "degraded": answer.degraded,
        "took_ms": {stage: round(ms, 3) for stage, ms in answer.took_ms.items()},
        "profile": {"known": bool(answer.profiles.present[answer.row].any()), "n_events": int(events)},
        **more,
    }
    if answer.page != Page.HOMEPAGE:
        return envelope | {"recommendations": _list(_titles(answer, answer.places), None)}
    titles = iter(_titles(answer, answer.shown()))
    rows = [
        {
            "row_id": shown.row.row_id,
            "title": shown.row.title,
            "reason": shown.row.reason,
            "items": _list(list(islice(titles, shown.places.size)), shown.row.item_reason),
        }
        for shown in answer.rows
    ]
    return envelope | {"rows": rows}


_Title: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes]
"""A title's card, score, reason, leading source and progress, as JSON."""


def _titles(answer: Answer, places: Longs) -> list[_Title]:
    """What is true in this answer of the candidates at these places."""
    numbers = answer.candidates.items[answer.row, places]
    sources = leading_sources(answer.candidates, answer.row, places)
    seeds = answer.candidates.seeds[answer.row, places]
    liked = answer.profiles.only_liked(answer.row)
    reasons = map(orjson.dumps, reasons_of(sources, seeds, liked, answer.items.names))
    cards = [answer.cards[number] for number in numbers.tolist()]
    rounded = np.round(answer.scores[places].astype(np.float64), 6)
    scores = orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(places) else []
    return list(zip(cards, scores, reasons, map(str.encode, sources), _progress(answer, numbers), strict=True))


def _list(titles: Sequence[_Title], row_reason: str | None) -> orjson.Fragment:
    """Titles in order of position; a reason of their row is that of each of them."""
    common = orjson.dumps(row_reason) if row_reason else None
    written = [
        b'{%b,"score":%b,"position":%d,"reason":%b,"source":"%b","progress":%b}'
        % (card, score, position, common or reason, source, share)
        for position, (card, score, reason, source, share) in enumerate(titles)
    ]
    return orjson.Fragment(b"[" + b",".join(written) + b"]")


def _progress(answer: Answer, numbers: Ints) -> list[bytes]:
    """How much of each title was watched when it last was, as JSON; null for what never was."""
    row = answer.row
    mine = np.where(answer.profiles.watching[row], answer.profiles.items[row], NO_ITEM)
    watched = set(mine.tolist()) - {NO_ITEM}
    progress = [b"null"] * len(numbers)
    for place, number in enumerate(numbers.tolist()):
        if number in watched:
            newest = int((mine == number).argmax())
            progress[place] = orjson.dumps(round(float(answer.profiles.progress[row, newest]), 3))
    return progress


def _probabilities(answer: Answer, place: int) -> dict[str, float] | None:
    if not answer.predicted:
        return None
    return {word(objective): round(float(answer.p[place, objective]), 6) for objective in Objective}


def explained(answer: Answer) -> dict[str, Any]:
    """Numbers behind an answer: per title its probabilities, sources and seed; and what filters took out, with reasons.

    `p` is None where no ranker predicted any.
    """
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
                "p": _probabilities(answer, int(place)),
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

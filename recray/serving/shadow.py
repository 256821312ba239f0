"""What a challenger would have answered: a share of requests is answered once more behind the answers, and nothing is shown.

Before promoting, an operator sees whether a challenger works, what it costs and how much it changes.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from recray.bundle import Bundle
from recray.errors import RequestError
from recray.experiments.assign import Assignment
from recray.features.profiles import Profiles, columns
from recray.guard import Guard
from recray.pages.answer import Answer
from recray.recommend import Parts, recommend
from recray.schema import ProfileKey
from recray.serving.asking import Question, batch, question
from recray.serving.counters import Counters
from recray.serving.shelf import BundleShelf

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 4
"""Requests per shadow batch: a request that arrives meanwhile shares the processor with so few."""
_COMPARED: Final = ("candidates", "rank", "slate", "page")
"""Stages that depend on the bundle; the profile is read once, for the answer."""


@dataclass(frozen=True, slots=True)
class Known:
    """`FeatureLookup` of profiles that were read before."""

    known: Profiles

    async def profiles(self, keys: Sequence[ProfileKey]) -> Profiles:
        return self.known


@dataclass
class Shadow:
    """Answers a share of the champion's requests by the challenger too. State: whether a shadow batch is under way.

    `guards` are its own, so that a challenger that fails opens no breaker of the answers'. `n_inside` counts requests that wait
    or are being answered: while there is any, nothing is shadowed.
    """

    parts: Parts
    guards: Mapping[str, Guard]
    shelf: BundleShelf
    share: float
    counters: Counters
    n_inside: Callable[[], int] = lambda: 0
    _under_way: bool = field(default=False, init=False)

    def picked(self, questions: Sequence[Question], answers: Sequence[Answer]) -> list[tuple[Question, Answer]]:
        """Requests to shadow of those that the champion answered: a share of them by their ids; none without a challenger."""
        champion, challenger = self.shelf.champion(), self.shelf.challenger()
        if champion is None or challenger is None:
            return []
        pairs = zip(questions, answers, strict=True)
        return [(asked, answer) for asked, answer in pairs if answer.bundle_id == champion.id and self._has_share(answer)]

    def _has_share(self, answer: Answer) -> bool:
        place = blake2b(answer.recommendation_id.encode(), digest_size=6, person=b"shadow").digest()
        return int.from_bytes(place, "big") < self.share * 2**48

    async def repeat(self, pairs: Sequence[tuple[Question, Answer]]) -> None:
        """Answer these requests by the challenger and count what comes of it; what there is no time for is left out."""
        challenger = self.shelf.challenger()
        if challenger is None:
            return
        done = 0
        if not self._under_way:
            self._under_way = True
            try:
                while done < len(pairs) and not self.n_inside():
                    await self._repeated(pairs[done : done + _AT_ONCE], challenger)
                    done += _AT_ONCE
            finally:
                self._under_way = False
        self.counters.shadow.labels(challenger.id, "left_out").inc(max(len(pairs) - done, 0))

    async def _repeated(self, pairs: Sequence[tuple[Question, Answer]], challenger: Bundle) -> None:
        asked = [(again, answer) for again, answer in ((_again(one, challenger), answer) for one, answer in pairs) if again]
        self.counters.shadow.labels(challenger.id, "failed").inc(len(pairs) - len(asked))
        if not asked:
            return
        known = columns(
            [answer.profiles.state(answer.row) for _, answer in asked],
            [answer.profiles.settings[answer.row] for _, answer in asked],
            [answer.profiles.version[answer.row] for _, answer in asked],
        )
        arms = [Assignment(answer.arms, challenger.id, answer.ranker, answer.slate) for _, answer in asked]
        parts = dataclasses.replace(self.parts, features=Known(known), guards=self.guards)
        try:
            made = await recommend(batch([one for one, _ in asked]), parts, assignments=arms)
        except Exception:  # noqa: BLE001  # counted and logged
            # Whatever a challenger does, it happens behind the answers; that it happened is what is to be known.
            self.counters.shadow.labels(challenger.id, "failed").inc(len(asked))
            _log.exception("challenger %s cannot answer", challenger.id)
            return
        for (_, shown), instead in zip(asked, made, strict=True):
            self._count(shown, instead, challenger.id)

    def _count(self, shown: Answer, instead: Answer, challenger_id: str) -> None:
        self.counters.shadow.labels(challenger_id, "degraded" if instead.degraded else "answered").inc()
        self.counters.shadow_ms.labels(challenger_id, "champion").observe(_ms_per_request(shown))
        self.counters.shadow_ms.labels(challenger_id, "challenger").observe(_ms_per_request(instead))
        self.counters.shadow_overlap.labels(challenger_id).observe(overlap(shown, instead))


def _again(asked: Question, challenger: Bundle) -> Question | None:
    """The question put to another catalogue; None where that does not hold the title just watched."""
    try:
        return question(asked.asked, asked.recommendation_id, asked.now_s, challenger.items)
    except RequestError:
        return None


def _ms_per_request(answer: Answer) -> float:
    """What an answer took, in the stages that its bundle decides; those who shared a batch bear it alike."""
    return sum(answer.took_ms.get(stage, 0.0) for stage in _COMPARED) / len(answer.candidates.items)


def overlap(one: Answer, other: Answer) -> float:
    """Share of the titles of two answers that are in both, of as many as the longer one shows; 1 when both are empty."""
    ours, theirs = _titles(one), _titles(other)
    most = max(len(ours), len(theirs))
    return len(ours & theirs) / most if most else 1.0


def _titles(answer: Answer) -> set[str]:
    numbers = answer.candidates.items[answer.row, answer.shown()]
    return {answer.items.content_ids[number] for number in numbers.tolist()}

"""The record of an answer: what explaining it, joining feedback to it and judging other policies by it need."""

from recray.pages.answer import Answer
from recray.pages.explain import leading_sources
from recray.serving.asking import Question
from recray.stores.event_log import SlateServed


def served(answer: Answer, question: Question, views: str) -> SlateServed:
    """The log of one answer, with all that is needed to make it again."""
    shown = answer.shown()
    numbers = answer.candidates.items[answer.row, shown]
    sampled = dict(zip(answer.places.tolist(), answer.propensity.tolist(), strict=True))
    asked = question.asked
    return SlateServed(
        recommendation_id=answer.recommendation_id,
        user_id=asked.user_id,
        profile_id=asked.profile_id,
        served_at_s=question.now_s,
        bundle_id=answer.bundle_id,
        page=asked.page,
        vectors_fingerprint=views,
        settings=answer.profiles.settings[answer.row],
        arms=dict(answer.arms),
        request={"asked": asked.facts() | {"region": answer.region}, "ranker": answer.algorithm, "slate": dict(answer.slate)},
        state=answer.profiles.encode(answer.row),
        items=numbers.tolist(),
        positions=list(range(shown.size)),
        scores=answer.scores[shown].tolist(),
        propensities=[sampled.get(place, 1.0) for place in shown.tolist()],
        sources=leading_sources(answer.candidates, answer.row, shown),
        degraded=answer.degraded,
        counted=answer.candidates.counted,
    )

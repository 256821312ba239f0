"""An answer on its way out over HTTP: which headers say where it came from, how old it is, and who may keep it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fastapi import Response

from recray.pages.answer import Written
from recray.stores.kept import KeptAnswer

Level = Literal["l1", "l2", "miss"]
KEEP: Final = "private, no-cache"
"""Whoever asked may keep the answer and must ask again before showing it: feedback ends it at any moment."""
KEEP_NOT: Final = "private, no-store"


@dataclass(frozen=True, slots=True)
class Reply:
    """A body as JSON, and what its headers need.

    `recommendation_id` names these very bytes; None when the answer is not to be kept. `level` is None without a cache.
    """

    body: Callable[[], bytes]
    recommendation_id: str | None = None
    level: Level | None = None
    age_s: int = 0


def fresh(answer: Written, level: Level | None = None, *, keep: bool = False) -> Reply:
    """An answer that was just made."""
    return Reply(lambda: answer.body, answer.recommendation_id if keep else None, level)


def reused(answer: KeptAnswer, level: Level, now_s: int) -> Reply:
    """An answer that was made before."""
    return Reply(answer.body, answer.recommendation_id, level, max(now_s - answer.made_at_s, 0))


def respond(reply: Reply, if_none_match: str | None) -> Response:
    """200 with the body, or 304 without it when `If-None-Match` names it."""
    headers = {"Cache-Control": KEEP if reply.recommendation_id else KEEP_NOT}
    if reply.level:
        headers["X-Cache"] = reply.level
    if reply.level in {"l1", "l2"}:
        headers["Age"] = str(reply.age_s)
    if reply.recommendation_id:
        headers["ETag"] = f'"{reply.recommendation_id}"'
        named = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
        if headers["ETag"] in named:
            return Response(status_code=304, headers=headers)
    return Response(reply.body(), media_type="application/json", headers=headers)

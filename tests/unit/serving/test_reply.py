"""Headers of an answer: who may keep it, how old it is, and when 304 is enough."""

import pytest

from recray.pages.answer import Written
from recray.serving.reply import Reply, fresh, respond, reused
from recray.stores.kept import packed_answer

ANSWER = Written("r1", True, b'{"recommendation_id":"r1","degraded":[]}')
KEPT = packed_answer("r1", 100, ANSWER.body)


def test_reused_answer_has_the_very_bytes_of_the_fresh_one_and_tells_its_age() -> None:
    made, again = respond(fresh(ANSWER, "miss", keep=True), None), respond(reused(KEPT, "l2", 142), None)
    assert made.body == again.body
    assert made.headers["etag"] == again.headers["etag"] == '"r1"'
    assert made.headers["cache-control"] == again.headers["cache-control"] == "private, no-cache"
    assert (made.headers["x-cache"], again.headers["x-cache"], again.headers["age"]) == ("miss", "l2", "42")
    assert "age" not in made.headers


@pytest.mark.parametrize("reply", [fresh(ANSWER), fresh(ANSWER, "miss")])
def test_answer_that_is_not_kept_is_not_to_be_kept_by_anyone(reply: Reply) -> None:
    answer = respond(reply, '"r1"')
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"r1"', 304), ('W/"r1"', 304), ('"r0", "r1"', 304), ('"r2"', 200), ("r1", 200), ("", 200), (None, 200)],
)
def test_condition_that_names_the_answer_gets_304_without_a_body(condition: str | None, status: int) -> None:
    answer = respond(reused(KEPT, "l1", 100), condition)
    assert (answer.status_code, answer.body == b"") == (status, status == 304)
    assert (answer.headers["etag"], answer.headers["x-cache"]) == ('"r1"', "l1")


def test_clock_that_runs_behind_makes_no_negative_age() -> None:
    assert respond(reused(KEPT, "l1", 90), None).headers["age"] == "0"

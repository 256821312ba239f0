"""Admission lets in what can be answered in time, and refuses the rest before any work is done for it."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from recray.serving.admission import Admission, Door, Pace, Shedding
from recray.serving.counters import Counters


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_pace_is_seconds_per_request_and_overlapping_batches_share_their_time() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now_s = 1.0
    pace.batch(10, 0.0)
    assert pace.per_request_s == pytest.approx(0.1)
    clock.now_s = 1.5
    pace.batch(10, 0.5)  # began while the first was under way: only half a second is its own
    assert pace.per_request_s == pytest.approx(0.1 + 0.2 * (0.05 - 0.1))
    clock.now_s = 100.0
    pace.batch(1, 99.9)  # idle time is nobody's
    assert pace.per_request_s == pytest.approx(0.09 + 0.2 * (0.1 - 0.09))


def test_door_closes_when_those_inside_would_take_too_long_but_never_for_a_few() -> None:
    pace, inside = Pace(lambda: 0.0, 0.01), [0]
    admission = Admission(pace, lambda: inside[0], 0.15, 1)
    for inside[0], wanted in ((0, True), (15, True), (16, False), (100, False)):
        assert admission.open() is wanted
    pace.per_request_s = 30.0
    for n_batches, most in ((1, 7), (2, 11)):  # four for each batch under way, and for the one that waits
        slow = Admission(pace, lambda: inside[0], 0.15, n_batches)
        for inside[0], wanted in ((most, True), (most + 1, False)):
            assert slow.open() is wanted


@pytest.fixture
def served() -> tuple[httpx.AsyncClient, list[int], Counters]:
    app, counters, inside = FastAPI(), Counters(), [0]

    @app.get("/api/v1/recommendations/homepage")
    async def homepage() -> dict[str, str]:
        return {"page": "homepage"}

    @app.post("/api/v1/recommendations/feedback", status_code=202)
    async def feedback() -> dict[str, str]:
        return {"verdict": "accepted"}

    admission = Admission(Pace(lambda: 0.0, 0.01), lambda: inside[0], 0.15, 1)
    app.add_middleware(Shedding, door=Door("/api/v1/recommendations/", admission, counters))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here"), inside, counters


async def test_past_capacity_recommendations_are_refused_and_feedback_is_taken(
    served: tuple[httpx.AsyncClient, list[int], Counters],
) -> None:
    http, inside, counters = served
    assert (await http.get("/api/v1/recommendations/homepage")).status_code == 200
    inside[0] = 50
    refused = await http.get("/api/v1/recommendations/homepage")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await http.post("/api/v1/recommendations/feedback")).status_code == 202
    inside[0] = 3
    assert (await http.get("/api/v1/recommendations/homepage")).status_code == 200
    assert counters.shed._value.get() == 1


async def test_answers_that_are_errors_are_counted_by_status(
    served: tuple[httpx.AsyncClient, list[int], Counters],
) -> None:
    http, _, counters = served
    await http.get("/nowhere")
    assert 'recray_errors_total{status="404"} 1.0' in counters.text().decode()


async def test_what_is_added_to_one_refusal_on_its_way_is_not_in_the_next() -> None:
    door = Door("/api/v1/recommendations/", Admission(Pace(lambda: 0.0, 1.0), lambda: 50, 0.15, 1), Counters())
    lengths = []

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def marking(message: Message) -> None:
        if message["type"] == "http.response.start":
            lengths.append(len(message["headers"]))
            message["headers"].append((b"x-request-id", b"somebody's"))

    for _ in range(2):
        refusal = door.refusal()
        assert refusal is not None
        await refusal({"type": "http"}, nothing, marking)
    assert lengths[0] == lengths[1]

"""The short way to a list answers as the documented one does, and says the same of what is wrong."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from recray.errors import StageError, UnknownTitleError
from recray.pages.answer import Written
from recray.serving.asking import Asked
from recray.serving.auth import operator_only
from recray.serving.counters import Counters
from recray.serving.gateway import build_app
from recray.serving.lists import Lists
from recray.serving.reply import Reply, fresh
from recray.settings import Settings

LISTS = ("homepage", "post-watch", "search", "category")


class Spoken:
    """A service that answers with what it was asked."""

    def __init__(self) -> None:
        self.counters, self.asked, self.fault = Counters(), list[Asked](), None

    def admission(self, most_s: float) -> Any:
        return SimpleNamespace(open=lambda: True)

    async def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if self.fault:
            raise self.fault
        return fresh(Written("r1", True, b"{}"), "miss", keep=True)


@pytest.fixture
def service() -> Spoken:
    return Spoken()


def client(service: Spoken) -> httpx.AsyncClient:
    app = build_app(service, operator_only(""), Settings())  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def both(service: Spoken, monkeypatch: pytest.MonkeyPatch, path: str) -> list[tuple[int, Any, Asked | None]]:
    """What the short way gives, and what FastAPI's route gives."""
    found = []
    for long in (False, True):
        if long:

            async def passed(self: Lists, *about: Any) -> None:
                await self.app(*about)

            monkeypatch.setattr(Lists, "__call__", passed)
        service.asked.clear()
        answer = await client(service).get(f"/api/v1/recommendations/{path}")
        found.append((answer.status_code, answer.json(), service.asked[0] if service.asked else None))
    return found


@pytest.mark.parametrize(
    "path",
    [
        "homepage?user_id=1&profile_id=main",
        "homepage?user_id=1&profile_id=main&num_rows=3&row_size=7&device=tv&region=DE&content_types=movie&content_types=series",
        "post-watch?user_id=a%20b&profile_id=%C3%A9&watched_content_id=7&exclude_watched=false",
        "search?user_id=1&profile_id=main&query=a+b%26c&num_results=5&unknown=1",
        "category?user_id=1&user_id=2&profile_id=main&category=Drama",
        "homepage",
        "homepage?user_id=&profile_id=main",
        "homepage?user_id=1&profile_id=main&num_rows=0&row_size=x&region=de&device=fridge&content_types=podcast",
        "search?user_id=1&profile_id=main&query=",
    ],
)
async def test_short_way_and_documented_way_agree(service: Spoken, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    short, long = await both(service, monkeypatch, path)
    assert short == long
    assert short[0] in {200, 422}


@pytest.mark.parametrize(
    ("fault", "status"), [(UnknownTitleError("no such title"), 404), (StageError("no bundle is loaded"), 503)]
)
async def test_errors_are_problem_documents(service: Spoken, fault: Exception, status: int) -> None:
    service.fault = fault
    answer = await client(service).get("/api/v1/recommendations/homepage?user_id=1&profile_id=main")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == str(fault)
    assert f'recray_errors_total{{status="{status}"}} 1.0' in service.counters.text().decode()


async def test_what_the_caller_has_already_is_not_sent_again(service: Spoken) -> None:
    path = "/api/v1/recommendations/homepage?user_id=1&profile_id=main"
    assert (await client(service).get(path, headers={"If-None-Match": '"r1"'})).status_code == 304
    assert (await client(service).get(path, headers={"If-None-Match": '"r2"'})).status_code == 200


def test_schema_documents_every_list_with_its_parameters(service: Spoken) -> None:
    schema = build_app(service, operator_only(""), Settings()).openapi()  # type: ignore[arg-type]
    for name in LISTS:
        named = {one["name"] for one in schema["paths"][f"/api/v1/recommendations/{name}"]["get"]["parameters"]}
        assert {"user_id", "profile_id", "device", "region", "content_types", "exclude_watched", "if-none-match"} <= named
    category = schema["paths"]["/api/v1/recommendations/category"]["get"]["parameters"]
    assert {one["name"] for one in category if one["required"]} == {"user_id", "profile_id", "category"}

"""The four lists that are asked for most: their parameters, declared once, and the short way from a request to its answer.

FastAPI documents them from the same models, but does not serve them: taking a request apart and putting its parameters together
cost it a third of a replica's time (docs/experiments.md).
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs

from fastapi import Response
from pydantic import BaseModel, Field, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from recray.schema import Device, Page, word
from recray.serving import problems
from recray.serving.asking import DEVICES, KINDS, Asked
from recray.serving.feedback import Id
from recray.serving.reply import respond
from recray.serving.service import Service
from recray.settings import SlateSettings

PREFIX: Final = "/api/v1/recommendations/"
Count = Annotated[int, Field(ge=1, le=100)]
Kinds = list[Literal[KINDS]]  # type: ignore[valid-type]  # the enumeration is the one list of kinds
DeviceName = Literal[DEVICES]  # type: ignore[valid-type]  # likewise


class ListQuery(BaseModel):
    """What every list is asked with."""

    user_id: Id
    profile_id: Id
    device: DeviceName = word(Device.OTHER)
    region: Annotated[str | None, Field(pattern="^[A-Z]{2}$")] = None
    content_types: Kinds = []
    exclude_watched: bool = True

    @abstractmethod
    def asked(self) -> Asked:
        """The request that they make."""
        ...

    def _of(self, page: Page, n_items: int, **more: Any) -> Asked:
        return Asked(
            word(page), self.user_id, self.profile_id, n_items, device=self.device, region=self.region,
            content_types=tuple(self.content_types), exclude_watched=self.exclude_watched, **more,
        )  # fmt: skip


def queries(slate: SlateSettings) -> dict[str, type[ListQuery]]:
    """Parameters of each list by the last part of its path; sizes that are not given are the settings'."""

    class Homepage(ListQuery):
        num_rows: Annotated[int, Field(ge=1, le=40)] = slate.n_rows
        row_size: Count = slate.row_size

        def asked(self) -> Asked:
            return self._of(Page.HOMEPAGE, self.row_size, n_rows=self.num_rows)

    class PostWatch(ListQuery):
        watched_content_id: Id
        num_recommendations: Count = slate.row_size

        def asked(self) -> Asked:
            return self._of(Page.POST_WATCH, self.num_recommendations, watched_content_id=self.watched_content_id)

    class Search(ListQuery):
        query: Annotated[str, Field(min_length=1, max_length=200)]
        num_results: Count = slate.row_size

        def asked(self) -> Asked:
            return self._of(Page.SEARCH, self.num_results, query=self.query)

    class Category(ListQuery):
        category: Annotated[str, Field(min_length=1, max_length=100)]
        num_recommendations: Count = slate.row_size

        def asked(self) -> Asked:
            return self._of(Page.CATEGORY, self.num_recommendations, category=self.category)

    return {"homepage": Homepage, "post-watch": PostWatch, "search": Search, "category": Category}


async def answered(service: Service, query: ListQuery, if_none_match: str | None) -> Response:
    """The answer to one list over HTTP."""
    return respond(await service.reply(query.asked()), if_none_match)


@dataclass(frozen=True, slots=True)
class Lists:
    """ASGI layer that answers the lists itself and passes everything else on."""

    app: ASGIApp
    service: Service
    models: Mapping[str, type[ListQuery]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = None
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(PREFIX):
            model = self.models.get(scope["path"].removeprefix(PREFIX))
        if model is None:
            await self.app(scope, receive, send)
            return
        try:
            response = await answered(self.service, model.model_validate(_parameters(scope)), _condition(scope))
        except ValidationError as problem:
            response = problems.malformed(problem.errors(include_url=False, include_context=False, include_input=False))
        except Exception as problem:  # noqa: BLE001  # nothing stands between this layer and the server
            response = problems.of(problem)
        await response(scope, receive, send)


def _parameters(scope: Scope) -> dict[str, Any]:
    """Parameters of the query string; of one that comes several times the last, but for the list of kinds."""
    given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values if name == "content_types" else values[-1] for name, values in given.items()}


def _condition(scope: Scope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"), None)

"""HTTP in front of the service: routes, validation, static pages. Knows nothing of Ray."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse, ORJSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from recray.errors import RequestError
from recray.schema import AGE_GROUPS, Device, Page, ProfileKey, ProfileSettings, word
from recray.serving import problems
from recray.serving.asking import DEVICES, KINDS, Asked
from recray.serving.feedback import MAX_EVENTS, Feedback, Id
from recray.serving.service import Service
from recray.settings import SlateSettings

Count = Annotated[int, Query(ge=1, le=100)]
UserId = Annotated[Id, Query()]
Region = Annotated[str | None, Query(pattern="^[A-Z]{2}$")]
Kinds = Annotated[list[Literal[KINDS]] | None, Query()]  # type: ignore[valid-type]  # the enumeration is the one list of kinds
_OTHER = word(Device.OTHER)
DeviceName = Literal[DEVICES]  # type: ignore[valid-type]  # likewise
Operator = Callable[[Request], None]
BASE = "/api/v1"


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters that every list takes."""

    device: str
    region: str | None
    content_types: tuple[str, ...]
    exclude_watched: bool


def filters(
    device: DeviceName = _OTHER, region: Region = None, content_types: Kinds = None, exclude_watched: bool = True
) -> Filters:
    """FastAPI dependency: the common filters out of the query string."""
    return Filters(device, region, tuple(content_types or ()), exclude_watched)


Common = Annotated[Filters, Depends(filters)]


class ProfileBody(BaseModel):
    """A profile's settings as a client sends them, or as `GET` gave them; what is absent is cleared."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id | None = None
    profile_id: Id | None = None

    country: Annotated[str | None, Field(pattern="^[A-Z]{2}$")] = None
    language: Annotated[str | None, Field(pattern="^[a-z]{2,3}$")] = None
    age_group: Literal[AGE_GROUPS] | None = None  # type: ignore[valid-type]  # likewise
    maturity_limit: Annotated[int | None, Field(ge=0, le=99)] = None
    consent: bool = True


def build_app(service: Service, operator: Operator, slate: SlateSettings) -> FastAPI:
    """The ASGI application over one service."""
    app = FastAPI(title="recray", version="1", default_response_class=ORJSONResponse,
                  description="Personalized rows and lists of a streaming-video service.")  # fmt: skip
    problems.install(app)
    _recommendations(app, service, slate)
    _feedback(app, service)
    _profiles(app, service)
    _operations(app, service, operator)
    _pages(app)
    return app


def _recommendations(app: FastAPI, service: Service, slate: SlateSettings) -> None:
    @app.get(f"{BASE}/recommendations/homepage")
    async def homepage(
        user_id: UserId,
        profile_id: UserId,
        common: Common,
        num_rows: Annotated[int, Query(ge=1, le=40)] = slate.n_rows,
        row_size: Count = slate.row_size,
    ) -> ORJSONResponse:
        """Rows of titles, each with its reason."""
        return await _answer(service, Page.HOMEPAGE, user_id, profile_id, common, n_items=row_size, n_rows=num_rows)

    @app.get(f"{BASE}/recommendations/post-watch")
    async def post_watch(
        user_id: UserId,
        profile_id: UserId,
        watched_content_id: UserId,
        common: Common,
        num_recommendations: Count = slate.row_size,
    ) -> ORJSONResponse:
        """What to watch after a title."""
        return await _answer(service, Page.POST_WATCH, user_id, profile_id, common, n_items=num_recommendations,
                             watched_content_id=watched_content_id)  # fmt: skip

    @app.get(f"{BASE}/recommendations/search")
    async def search(
        user_id: UserId,
        profile_id: UserId,
        query: Annotated[str, Query(min_length=1, max_length=200)],
        common: Common,
        num_results: Count = slate.row_size,
    ) -> ORJSONResponse:
        """Titles that match a query, ranked for the profile."""
        return await _answer(service, Page.SEARCH, user_id, profile_id, common, n_items=num_results, query=query)

    @app.get(f"{BASE}/recommendations/category")
    async def category(
        user_id: UserId,
        profile_id: UserId,
        category: Annotated[str, Query(min_length=1, max_length=100)],
        common: Common,
        num_recommendations: Count = slate.row_size,
    ) -> ORJSONResponse:
        """Titles of a genre or kind, ranked for the profile."""
        return await _answer(service, Page.CATEGORY, user_id, profile_id, common, n_items=num_recommendations,
                             category=category)  # fmt: skip

    @app.get(f"{BASE}/recommendations/{{recommendation_id}}/explain")
    async def explain(recommendation_id: Annotated[Id, Path()]) -> ORJSONResponse:
        """What each title scored, from which source, and what was dropped and why."""
        return ORJSONResponse(await service.explain(recommendation_id))


async def _answer(service: Service, page: Page, user_id: str, profile_id: str, common: Filters, **asked: Any) -> ORJSONResponse:
    return ORJSONResponse(await service.ask(Asked(word(page), user_id, profile_id, **asdict(common), **asked)))


def _feedback(app: FastAPI, service: Service) -> None:
    @app.post(f"{BASE}/recommendations/feedback", status_code=202)
    async def feedback(
        body: Feedback | Annotated[list[Feedback], Field(min_length=1, max_length=MAX_EVENTS)],
    ) -> ORJSONResponse:
        """One event, or a list of them; 202 once they are durable, with each event's own verdict.

        A single event that is rejected is answered with its error; in a list the others are still taken.
        """
        if isinstance(body, Feedback):
            service.check(body)
        verdicts = await service.feedback(body if isinstance(body, list) else [body])
        counts = {"accepted": verdicts.count("accepted"), "duplicates": verdicts.count("duplicate")}
        counts["rejected"] = len(verdicts) - sum(counts.values())
        return ORJSONResponse({**counts, "verdicts": verdicts}, 202)


def _profiles(app: FastAPI, service: Service) -> None:
    at = f"{BASE}/profiles/{{user_id}}/{{profile_id}}"
    one = Annotated[Id, Path()]

    @app.get(f"{BASE}/profiles")
    async def samples(limit: Count = 12) -> ORJSONResponse:
        """Some profiles of the data set, to try the engine with."""
        return ORJSONResponse({"profiles": service.champion().manifest.get("data", {}).get("samples", [])[:limit]})

    @app.get(at)
    async def read(user_id: one, profile_id: one) -> ORJSONResponse:
        """A profile's settings and consent; defaults for an unknown profile."""
        key = ProfileKey(user_id, profile_id)
        return ORJSONResponse({**asdict(key), **asdict(await service.profile(key))})

    @app.put(at)
    async def write(user_id: one, profile_id: one, body: ProfileBody) -> ORJSONResponse:
        """Replace a profile's settings; the next answer follows them."""
        key = ProfileKey(user_id, profile_id)
        meant = (body.user_id or user_id, body.profile_id or profile_id)
        if meant != (user_id, profile_id):
            raise RequestError(f"the body is about profile {'/'.join(meant)}, the address about {key}; send one")
        settings = ProfileSettings(**body.model_dump(exclude={"user_id", "profile_id"}))
        return ORJSONResponse({**asdict(key), **asdict(settings), "version": await service.store.put_settings(key, settings)})

    @app.get(f"{at}/export")
    async def export(user_id: one, profile_id: one) -> ORJSONResponse:
        """Everything held about a profile, in the store and in the lake."""
        return ORJSONResponse(await service.export(ProfileKey(user_id, profile_id)))

    @app.delete(at)
    async def erase(user_id: one, profile_id: one) -> ORJSONResponse:
        """Erase everything held about a profile; readers of the lake see nothing more of it either."""
        key = ProfileKey(user_id, profile_id)
        return ORJSONResponse({**asdict(key), "erased": await service.erase(key)})


def _operations(app: FastAPI, service: Service, operator: Operator) -> None:
    only = [Depends(operator)]

    @app.get(f"{BASE}/experiments")
    async def experiments() -> ORJSONResponse:
        """Experiments and their arms, as loaded."""
        return ORJSONResponse({"experiments": [e.model_dump(mode="json") for e in service.parts.experiments.all]})

    @app.get(f"{BASE}/bundles")
    async def bundles() -> ORJSONResponse:
        """Bundles of the registry, newest first, and what the aliases name."""
        return ORJSONResponse(await service.bundles())

    @app.post(f"{BASE}/bundles/{{bundle_id}}/promote", dependencies=only)
    async def promote(bundle_id: Annotated[Id, Path()]) -> ORJSONResponse:
        """Put a bundle in charge. One that does not load is refused, and the old one stays."""
        return ORJSONResponse(await service.promote(bundle_id))

    @app.post(f"{BASE}/bundles/rollback", dependencies=only)
    async def rollback() -> ORJSONResponse:
        """Put the bundle in charge that was before."""
        return ORJSONResponse(await service.rollback())

    @app.get("/healthz", include_in_schema=False)
    async def healthy() -> ORJSONResponse:
        return ORJSONResponse({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> ORJSONResponse:
        """Whether a bundle is loaded and the store answers; 503 when nothing could be answered at all."""
        facts = await service.readiness()
        return ORJSONResponse(facts, 200 if facts["bundle"] else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(await service.metrics(), media_type="text/plain; version=0.0.4")


_CONTENT_SECURITY = {"Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'"}


def _pages(app: FastAPI) -> None:
    web = files("recray") / "web"

    def page(name: str) -> FileResponse:
        return FileResponse(str(web / name), headers=_CONTENT_SECURITY)

    @app.get("/", include_in_schema=False)
    async def viewer() -> FileResponse:
        return page("index.html")

    @app.get("/ops", include_in_schema=False)
    async def ops() -> FileResponse:
        return page("ops.html")

    app.mount("/web", StaticFiles(directory=str(web)), name="web")

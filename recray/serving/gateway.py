"""HTTP in front of the service: routes, validation, static pages. Knows nothing of Ray."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any, Literal

import orjson
from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp

from recray.errors import RequestError
from recray.schema import AGE_GROUPS, ProfileKey, ProfileSettings
from recray.serving import problems
from recray.serving.admission import Door, Shedding
from recray.serving.feedback import MAX_EVENTS, Feedback, Id
from recray.serving.lists import PREFIX, Count, ListQuery, Lists, answered, queries
from recray.serving.service import Service
from recray.settings import Settings

Operator = Callable[[Request], None]
BASE = "/api/v1"
MAX_PICKED = 20
"""Genres that one profile may pick."""


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
    genres: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=MAX_PICKED)] = []


class Json(JSONResponse):
    """A JSON body written by orjson."""

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class Application(FastAPI):
    """FastAPI with two layers around all of its own, which the lists need not pass: `door` and the short way to an answer."""

    def __init__(self, service: Service, models: Mapping[str, type[ListQuery]], door: Door) -> None:
        super().__init__(title="recray", version="1", default_response_class=Json,
                         description="Personalized rows and lists of a streaming-video service.")  # fmt: skip
        self.service, self.models, self.door = service, models, door

    def build_middleware_stack(self) -> ASGIApp:
        """Called once, before the first request."""
        return Shedding(Lists(super().build_middleware_stack(), self.service, self.models), self.door)


def build_app(service: Service, operator: Operator, settings: Settings) -> Application:
    """The ASGI application over one service."""
    models = queries(settings.slate)
    admission = service.admission(settings.serving.most_delay_ms / 1_000)
    app = Application(service, models, Door(PREFIX, admission, service.counters))
    problems.install(app)
    for name, model in models.items():
        _documented(app, service, name, model)
    _explanations(app, service)
    _feedback(app, service)
    _profiles(app, service)
    _operations(app, service, operator)
    _pages(app)
    # Serve looks up every request's route from the first on.
    app.router.routes.sort(key=lambda route: not getattr(route, "path", "").startswith(PREFIX))
    return app


_ABOUT = {
    "homepage": "Rows of titles, each with its reason.",
    "post-watch": "What to watch after a title.",
    "search": "Titles that match a query, ranked for the profile.",
    "category": "Titles of a genre or kind, ranked for the profile.",
}


def _documented(app: FastAPI, service: Service, name: str, model: type[ListQuery]) -> None:
    """A list as a route, which is how it comes to be in the schema; `Lists` answers before it is reached."""

    async def route(query: Any, if_none_match: str | None = Header(None)) -> Response:
        return await answered(service, query, if_none_match)

    route.__annotations__["query"] = Annotated[model, Query()]
    app.get(PREFIX + name, name=name, description=_ABOUT[name])(route)


def _explanations(app: FastAPI, service: Service) -> None:
    @app.get(PREFIX + "{recommendation_id}/explain")
    async def explain(recommendation_id: Annotated[Id, Path()]) -> Json:
        """What each title scored, from which source, and what was dropped and why."""
        return Json(await service.explain(recommendation_id))


def _feedback(app: FastAPI, service: Service) -> None:
    @app.post(f"{BASE}/recommendations/feedback", status_code=202)
    async def feedback(
        body: Feedback | Annotated[list[Feedback], Field(min_length=1, max_length=MAX_EVENTS)],
    ) -> Json:
        """One event, or a list of them; 202 once they are durable, with each event's own verdict.

        A single event that is rejected is answered with its error; in a list the others are still taken.
        """
        if isinstance(body, Feedback):
            service.check(body)
        verdicts = await service.feedback(body if isinstance(body, list) else [body])
        counts = {"accepted": verdicts.count("accepted"), "duplicates": verdicts.count("duplicate")}
        counts["rejected"] = len(verdicts) - sum(counts.values())
        return Json({**counts, "verdicts": verdicts}, 202)


def _profiles(app: FastAPI, service: Service) -> None:
    at = f"{BASE}/profiles/{{user_id}}/{{profile_id}}"
    one = Annotated[Id, Path()]

    @app.get(f"{BASE}/profiles")
    async def samples(limit: Annotated[Count, Query()] = 12) -> Json:
        """Some profiles of the data set, to try the engine with."""
        return Json({"profiles": service.champion().manifest.get("data", {}).get("samples", [])[:limit]})

    @app.get(f"{BASE}/genres")
    async def genres() -> Json:
        """Genres of the catalogue that a profile may pick, those of most titles first."""
        return Json({"genres": [{"name": name, "titles": n} for name, n in service.champion().items.genre_sizes.items()]})

    @app.get(at)
    async def read(user_id: one, profile_id: one) -> Json:
        """A profile's settings and consent; defaults for an unknown profile."""
        key = ProfileKey(user_id, profile_id)
        return Json({**asdict(key), **asdict(await service.profile(key))})

    @app.put(at)
    async def write(user_id: one, profile_id: one, body: ProfileBody) -> Json:
        """Replace a profile's settings; the next answer follows them."""
        key = ProfileKey(user_id, profile_id)
        meant = (body.user_id or user_id, body.profile_id or profile_id)
        if meant != (user_id, profile_id):
            raise RequestError(f"the body is about profile {'/'.join(meant)}, the address about {key}; send one")
        sent = body.model_dump(exclude={"user_id", "profile_id"})
        settings = ProfileSettings(**sent | {"genres": await service.picked(key, body.genres)})
        return Json({**asdict(key), **asdict(settings), "version": await service.store.put_settings(key, settings)})

    @app.get(f"{at}/export")
    async def export(user_id: one, profile_id: one) -> Json:
        """Everything held about a profile, in the store and in the lake."""
        return Json(await service.export(ProfileKey(user_id, profile_id)))

    @app.delete(at)
    async def erase(user_id: one, profile_id: one) -> Json:
        """Erase everything held about a profile; readers of the lake see nothing more of it either."""
        key = ProfileKey(user_id, profile_id)
        return Json({**asdict(key), "erased": await service.erase(key)})


def _operations(app: FastAPI, service: Service, operator: Operator) -> None:
    only = [Depends(operator)]

    def promoted(facts: dict[str, Any]) -> Json:
        return Json(facts, 202 if facts["under_way"] else 200)

    @app.get(f"{BASE}/experiments")
    async def experiments() -> Json:
        """Experiments and their arms, as loaded."""
        return Json({"experiments": [e.model_dump(mode="json") for e in service.parts.experiments.all]})

    @app.get(f"{BASE}/bundles")
    async def bundles() -> Json:
        """Bundles of the registry, newest first, and what the aliases name."""
        return Json(await service.swaps.listed())

    @app.post(f"{BASE}/bundles/{{bundle_id}}/promote", dependencies=only)
    async def promote(bundle_id: Annotated[Id, Path()]) -> Json:
        """Put a bundle in charge. One that does not load is refused, and the old one stays; 202 while it still loads."""
        return promoted(await service.swaps.promote(bundle_id))

    @app.post(f"{BASE}/bundles/rollback", dependencies=only)
    async def rollback(leaving: Annotated[Id | None, Query()] = None) -> Json:
        """Put the bundle in charge that was before; 202 while it loads. Name the one to leave, and asking again is safe."""
        return promoted(await service.swaps.rollback(leaving))

    @app.get("/healthz", include_in_schema=False)
    async def healthy() -> Json:
        return Json({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> Json:
        """Whether a bundle is loaded and the store answers; 503 when nothing could be answered at all."""
        facts = await service.readiness()
        return Json(facts, 200 if facts["bundle"] else 503)

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

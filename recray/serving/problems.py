"""Errors as RFC 9457 problem documents: the one map from recray's errors to HTTP status."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from recray.errors import (
    ModelError,
    RecrayError,
    RequestError,
    StageError,
    UnknownRecommendationError,
    UnknownTitleError,
)

_log = logging.getLogger(__name__)
STATUS: Final = (
    (UnknownTitleError, 404, "Unknown title"),
    (UnknownRecommendationError, 404, "Unknown recommendation"),
    (RequestError, 422, "Request cannot be answered"),
    (ModelError, 409, "Bundle cannot be used"),
    (StageError, 503, "Not available now"),
)
"""First match wins; an error of recray that is not listed is a fault of the server."""


def problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    """A problem document."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    # A 404 may be kept by whoever passes it on unless it says otherwise; the title may join tomorrow.
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "1"} if status == 503 else {})
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def of(error: Exception) -> JSONResponse:
    """The problem document of an error; of one that nobody foresaw, the log has the whole story."""
    for kind, status, title in STATUS:
        if isinstance(error, kind):
            return problem(status, title, str(error))
    _log.error("unexpected %r", error, exc_info=error)
    return problem(500, "Server error", "the server failed; its log says why")


def malformed(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """The problem document of values that pydantic refused, each by the name of its field."""
    faults = [{"field": ".".join(str(part) for part in fault["loc"]) or "body", "message": fault["msg"]} for fault in errors]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults[:5])
    return problem(422, "Malformed request", detail, errors=faults)


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem document."""

    @app.exception_handler(RecrayError)
    async def ours(request: Request, error: RecrayError) -> JSONResponse:
        return of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return malformed([{**fault, "loc": fault["loc"][1:] or fault["loc"]} for fault in error.errors()])

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, "Refused", str(error.detail))

"""In front of Serve: what a request to a gateway's replica passes before Serve counts it, times it and makes tasks of it."""

from typing import Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from recray.serving.admission import Door

_STAYS: Final = (b"x-request-disconnect-disabled", b"?1")
"""Spares Serve a task per request that waits for the client to leave: a batch goes on for the others anyway."""
door: Door | None = None
"""The door of this process' gateway, once it has one: Serve makes the layer before the application."""


class Front:
    """ASGI layer that Serve puts around its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if door is not None and door.guards(scope):
            refusal = door.refusal()
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            scope["headers"] = [*scope["headers"], _STAYS]
        await self._app(scope, receive, send)


def layers() -> list[Middleware]:
    """What `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names."""
    return [Middleware(Front)]

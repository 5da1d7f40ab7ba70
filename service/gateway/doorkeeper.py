"""The door before every endpoint: a key where one is asked for, and whose request it then is."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.doors.doors import Doors
from service.doors.keys import Key
from service.errors import InvalidApiKey
from service.gateway.access import trace
from service.gateway.failures import error_response

_FOR_PROBES = {"/healthz", "/readyz"}
"""What needs no key: what asks whether we live has none. /metrics needs one: it tells what everybody does."""


_EXPOSED = (
    "x-request-id",
    "x-mull-cache",
    "age",
    "retry-after",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
)


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let web pages of these origins call the gateway, and read what it says beside the body."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("*",),  # OpenAI's client for browsers sends a dozen of its own
        expose_headers=_EXPOSED,
    )


class Doorkeeper:
    """ASGI middleware, within `Access`: lets a request pass, or answers 401."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["mull.headers"] = {}
        try:
            scope["mull.key"] = key = self._key(scope)
            trace(Request(scope)).caller = key.name if key is not None else None
        except InvalidApiKey as error:
            trace(Request(scope)).error = type(error).__name__
            await error_response(error)(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                limits = [(name.encode(), value.encode()) for name, value in scope["mull.headers"].items()]
                message["headers"] = [*message.get("headers", ()), *limits]
            await send(message)

        await self._app(scope, receive, send_with_limits)

    def _key(self, scope: Scope) -> Key | None:
        if scope["path"] in _FOR_PROBES:
            return None
        address = scope["server"][0] if scope.get("server") else None
        return self._doors.caller(Headers(scope=scope).get("authorization"), address)

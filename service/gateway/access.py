"""What happens around every request: an id, one log line without a word of the question, a count, and a span."""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import EngineUnavailable, MullError
from service.gateway.outcome import outcome
from service.log_lines import serving
from service.metrics import Metrics
from service.tracing.carried import here

if TYPE_CHECKING:
    from service.tracing.spans import ServedSpan
    from service.tracing.tracer import Tracing

ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/score": "score",
    "/v1/responses": "responses",
    "/v1/responses/{id}": "responses",
    "/v1/models": "models",
    "/v1/strategies": "strategies",
    "/v1/traces/{id}": "traces",
    "/healthz": "healthz",
    "/readyz": "readyz",
    "/metrics": "metrics",
    "/metrics/workers": "metrics",
    "/openapi.json": "openapi",
}
_PROBES = {"healthz", "readyz", "metrics"}
_BELOW = {"/v1/traces/": "traces", "/v1/responses/": "responses"}
_UNREAD = {408, 413}
"""Answers to a body that has not been read to its end: the connection cannot be used again."""
ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_log = logging.getLogger("mull.access")


@dataclass(slots=True)
class Trace:
    """One request: its id, the name of the key that its client has shown, and what is noted for log and metrics.

    `span` is there while tracing is on.
    """

    id: str
    endpoint: str
    caller: str | None = None
    strategy: str = "none"
    cache: str = "none"
    error: str | None = None
    span: "ServedSpan | None" = None


def trace(connection: HTTPConnection) -> Trace:
    """Return the trace that `Access` put into the request's scope."""
    return cast(Trace, connection.scope["mull.trace"])


def error_body(error: MullError) -> dict[str, Any]:
    """Return an error's body, with the id of the request that is being served."""
    body = error.to_body()
    body["error"]["trace_id"] = serving.get()
    return body


class AnswerCutOff(Exception):
    """An answer that had begun could not be brought to its end."""


class Access:
    """ASGI middleware: takes or makes x-request-id, logs, counts, traces, turns a crash into a 500 with our body."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: "Tracing | None" = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        noted = self._noted(scope)
        scope["mull.trace"] = noted
        serving.set(noted.id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", noted.id.encode())]
                if status in _UNREAD:
                    own.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _log.exception("request crashed")
            noted.error = "MullError"
            if status:
                # The server closes the connection; its own log need not repeat what ours has said.
                raise AnswerCutOff from None
            await _send_error(
                send_with_id, MullError("Mull made a mistake.", hint="Its log has the details, under the x-request-id.")
            )
        except asyncio.CancelledError:
            # The server's: it is being stopped, and has waited for open requests as long as it may.
            noted.error = EngineUnavailable.__name__
            if status:
                raise
            await _send_error(
                send_with_id,
                EngineUnavailable("The gateway was stopped before it had an answer.", hint="Ask again in a moment."),
            )
        finally:
            self._note(scope, noted, status, time.monotonic() - begun)
            if noted.span is not None:
                noted.span.end(status=status or None, error=noted.error)

    def _noted(self, scope: Scope) -> Trace:
        """Begin to note a request. The trace that begins with it has its id, if that is a new one."""
        endpoint, given, span = _endpoint(scope["path"]), _given_id(scope), None
        if self._tracing is not None:
            if endpoint not in _PROBES:
                headers = HTTPConnection(scope).headers
                span = self._tracing.request(scope["method"], _route(scope["path"]), _context(headers))
            here.set(None if span is None else span.headers)
        if span is None:
            return Trace(given or uuid.uuid4().hex, endpoint)
        noted = Trace(given or (span.trace_id if span.first else uuid.uuid4().hex), endpoint, span=span)
        span.tell({"mull.trace_id": noted.id})
        return noted

    def _note(self, scope: Scope, noted: Trace, status: int, seconds: float) -> None:
        self._metrics.requests.labels(noted.endpoint, noted.strategy, status).inc()
        if noted.strategy != "none":
            came_to = outcome(status, noted.error)
            self._metrics.request_duration.labels(noted.strategy, came_to).observe(seconds)
        fields = {
            "request_id": noted.id,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "seconds": round(seconds, 3),
            "strategy": noted.strategy,
            "cache": noted.cache,
            "error": noted.error,
        }
        level = logging.DEBUG if noted.endpoint in _PROBES and status < 400 else logging.INFO
        _log.log(level, "answered", extra={"fields": fields})


def _given_id(scope: Scope) -> str | None:
    """Return the client's id if it is harmless in a header and a log."""
    given = HTTPConnection(scope).headers.get("x-request-id", "")
    return given if ID.fullmatch(given) else None


def _context(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a client says of the trace that its request is part of."""
    return {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}


def _route(path: str) -> str | None:
    """Return which of the few routes a path is one of."""
    if path in ENDPOINTS:
        return path
    return next((f"{folder}{{id}}" for folder in _BELOW if path.startswith(folder)), None)


def _endpoint(path: str) -> str:
    below = next((endpoint for folder, endpoint in _BELOW.items() if path.startswith(folder)), "other")
    return ENDPOINTS.get(path, below)


async def _send_error(send: Send, error: MullError) -> None:
    body = json.dumps(error_body(error)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

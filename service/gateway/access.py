"""What happens around every request: an id, one log line without a word of the question, and a count."""

import json
import logging
import re
import time
import uuid
from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import MullError
from service.metrics import Metrics

ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/score": "score",
    "/v1/models": "models",
    "/v1/strategies": "strategies",
    "/healthz": "healthz",
    "/readyz": "readyz",
    "/metrics": "metrics",
    "/openapi.json": "openapi",
}
_PROBES = {"healthz", "readyz", "metrics"}
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_log = logging.getLogger("mull.access")


@dataclass(slots=True)
class Trace:
    """One request: its id, and what the endpoints note about it for the log and the metrics."""

    id: str
    endpoint: str
    strategy: str = "none"
    cache: str = "none"
    error: str | None = None


def trace(connection: HTTPConnection) -> Trace:
    """Return the trace that `Access` put into the request's scope."""
    return cast(Trace, connection.scope["mull.trace"])


class Access:
    """ASGI middleware: takes or makes x-request-id, logs, counts, and turns a crash into a 500 with our body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        noted = Trace(_id(scope), ENDPOINTS.get(scope["path"], "other"))
        scope["mull.trace"] = noted
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", noted.id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _log.exception("request %s crashed", noted.id)
            if status:
                raise
            noted.error = "MullError"
            await _send_crash(send_with_id)
        finally:
            self._note(scope, noted, status, time.monotonic() - begun)

    def _note(self, scope: Scope, noted: Trace, status: int, seconds: float) -> None:
        self._metrics.requests.labels(noted.endpoint, noted.strategy, status).inc()
        if noted.strategy != "none":
            self._metrics.request_duration.labels(noted.strategy).observe(seconds)
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


def _id(scope: Scope) -> str:
    """Return the client's id if it is harmless in a header and a log, else a new one."""
    given = HTTPConnection(scope).headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


async def _send_crash(send: Send) -> None:
    error = MullError("Mull made a mistake.", hint="Its log has the details, under the x-request-id.")
    body = json.dumps(error.to_body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class JsonLines(logging.Formatter):
    """One JSON object per record; `extra={"fields": {…}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{record.msecs:03.0f}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr() -> None:
    """Write Mull's own records to standard error as JSON lines; asked twice, it does it once."""
    logger = logging.getLogger("mull")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False

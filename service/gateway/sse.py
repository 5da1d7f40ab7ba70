"""Server-sent events: an answer that is sent piece by piece, and ends when its client goes away."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import MullError
from service.gateway.access import error_body, trace
from service.gateway.waiting import ClientGone, disconnected

HEARTBEAT_S = 5.0
"""Longest silence: then a comment is sent, which clients skip, so that proxies keep the connection open."""

UNREAD_S = 30.0
"""How long a client may leave its connection full before it counts as gone."""

_HEARTBEAT = b": still searching\n\n"
_DONE = b"data: [DONE]\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would keep the pieces together
}
_log = logging.getLogger("mull.gateway")

Event = Mapping[str, Any]


class EventStream(Response):
    """Sends `events` as OpenAI does: one unnamed `data:` line each, and `[DONE]` at the end.

    What is raised before the first byte is raised here: it becomes an answer with a status of its own. Later it is sent
    as an event with the error's body, and the stream ends without `[DONE]`. `events` is closed on every way out.
    """

    def __init__(self, events: AsyncGenerator[Event, None], headers: Mapping[str, str]) -> None:
        self._events = events
        self._begun = False
        self.status_code = 200
        self.background = None
        self.init_headers({**_HEADERS, **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        leaving = asyncio.create_task(disconnected(receive))
        upcoming = asyncio.create_task(self._next())
        try:
            while True:
                await asyncio.wait({upcoming, leaving}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    raise ClientGone
                if not upcoming.done():
                    await self._send(send, _HEARTBEAT)
                    continue
                event = upcoming.result()
                if event is None:
                    break
                await self._send(send, _data(event))
                upcoming = asyncio.create_task(self._next())
            await self._send(send, _DONE, more=False)
        except Exception as error:
            if not self._begun:
                raise
            await self._break_off(scope, send, error)
        finally:
            for task in (upcoming, leaving):
                task.cancel()
            await asyncio.gather(upcoming, leaving, return_exceptions=True)
            await self._events.aclose()

    async def _next(self) -> Event | None:
        return await anext(self._events, None)

    async def _break_off(self, scope: Scope, send: Send, error: Exception) -> None:
        """End a stream whose status is already on its way."""
        noted = trace(HTTPConnection(scope))
        if not isinstance(error, MullError | ClientGone):
            _log.error("request %s crashed in its stream", noted.id, exc_info=error)
            error = MullError("Mull made a mistake.", hint="Its log has the details, under the x-request-id.")
        noted.error = type(error).__name__
        if isinstance(error, MullError):
            with suppress(OSError, ClientGone):  # the client may be gone as well
                await self._send(send, _data(error_body(error)), more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(UNREAD_S):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            raise ClientGone from None


def _data(event: Event) -> bytes:
    """Write one event. In ASCII: some clients end lines at characters that JSON leaves as they are (U+2028)."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n\n"

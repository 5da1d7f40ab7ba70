"""One streamed answer of an engine."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from math import inf
from typing import Any

import aiohttp

from service.engines.failures import LOST, as_bad_request, lost, refused
from service.engines.pulse import Pulse
from service.engines.sse import DataLines
from service.errors import EngineError, MullError


class EngineStream:
    """The events of one request, which is sent in a task of its own: a reader who is cancelled can read on.

    `ended` is true once everything has come. Status 400 is raised as `bad_request`.
    """

    def __init__(
        self,
        engine: str,
        served_name: str,
        request: Coroutine[Any, Any, aiohttp.ClientResponse],
        pulse: Pulse,
        bad_request: type[MullError] = EngineError,
    ) -> None:
        self.ended = False
        self.heard = inf
        self._engine = engine
        self._served_name = served_name
        self._bad_request = bad_request
        self._sending = asyncio.create_task(request)
        self._response: aiohttp.ClientResponse | None = None
        self._pulse = pulse
        self._lost: EngineError | None = None
        self._time = asyncio.get_running_loop().time
        self._lines = DataLines()
        self._events: deque[bytes] = deque()

    async def event(self) -> bytes | None:
        """Return the next event, `None` at the end. Raises `EngineError` and its children, or `QuestionTooLong`."""
        if not self._events and not self.ended:
            try:
                await self._read(self._response or await self._opened())
            except LOST as cause:
                raise self._lost or lost(self._engine, cause) from cause
        return self._events.popleft() if self._events else None

    def lose(self, why: EngineError) -> None:
        """Fail whoever reads with that error."""
        self._lost = why
        if self._response is not None:
            self._response.close()

    async def aclose(self) -> None:
        """Let go: of a connection on which there is more to come, the engine hears that it is closed."""
        self._pulse.leave(self)
        if not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})
        if not self.ended and not self._sending.cancelled() and self._sending.exception() is None:
            self._sending.result().close()

    async def _opened(self) -> aiohttp.ClientResponse:
        response = await self._pulse.wait_for(asyncio.shield(self._sending))
        if response.status != 200:
            content = await self._pulse.wait_for(response.read())
            failure = refused(self._engine, response.status, content, served_name=self._served_name)
            raise as_bad_request(failure, response.status, self._bad_request)
        self._response = response
        self._pulse.watch(self)
        return response

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        while not self._events:
            self.heard = self._time()
            part = await response.content.readany()
            self.heard = inf  # a reader who takes his time is no silence of the engine's
            if not part:
                self.ended = True
                return
            self._events.extend(self._lines.feed(part))

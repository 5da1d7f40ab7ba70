"""One streamed answer of an engine."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

import aiohttp

from service.engines.dispatch import Errand
from service.engines.failures import LOST, as_bad_request, lost, refused
from service.engines.replica import Replica
from service.engines.sse import DataLines
from service.errors import EngineError, MullError


class EngineStream:
    """The events of one request, which is sent in a task of its own: a reader who is cancelled can read on.

    `send` sends it to a replica: again to another, where one that took no request is the only one that has been asked.
    `ended` is true once everything has come, `refused` when an error came instead of a stream. Status 400 is raised as
    `bad_request`. `closed` is called at the end.
    """

    def __init__(
        self,
        errand: Errand,
        send: Callable[[Replica], Coroutine[Any, Any, aiohttp.ClientResponse]],
        *,
        served_name: str,
        bad_request: type[MullError],
        closed: Callable[[], None],
    ) -> None:
        self.ended = False
        self.refused = False
        self.heard = inf
        self._errand = errand
        self._send = send
        self._served_name = served_name
        self._bad_request = bad_request
        self._closed = closed
        self._sending = asyncio.create_task(send(errand.replica))
        self._response: aiohttp.ClientResponse | None = None
        self._lost: EngineError | None = None
        self._time = asyncio.get_running_loop().time
        self._lines = DataLines()
        self._events: deque[bytes] = deque()

    async def event(self) -> bytes | None:
        """Return the next event, `None` at the end. Raises `EngineError` and its children, or `QuestionTooLong`."""
        if not self._events and not self.ended:
            response = self._response or await self._opened()
            try:
                await self._read(response)
            except LOST as cause:
                error = self._lost or lost(self._errand.replica.title, cause)
                self.blame(error)
                raise error from cause
        return self._events.popleft() if self._events else None

    def blame(self, error: EngineError) -> None:
        """Count an error as the replica's: it has sent what cannot be used, or nothing."""
        self._errand.failed(error)

    def lose(self, why: EngineError) -> None:
        """Fail whoever reads with that error."""
        self._lost = why
        if self._response is not None:
            self._response.close()

    async def aclose(self) -> None:
        """Let go: of a connection on which there is more to come, the engine hears that it is closed."""
        self._errand.replica.pulse.leave(self)
        self._closed()
        if self.ended:
            self._errand.answered()
        self._errand.left()
        if not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})
        if not self.ended and not self._sending.cancelled() and self._sending.exception() is None:
            self._sending.result().close()

    async def _opened(self) -> aiohttp.ClientResponse:
        while True:
            try:
                self._response = await self._asked()
            except EngineError as error:
                await self._errand.again(error, whatever_was_done=False)
                self._sending = asyncio.create_task(self._send(self._errand.replica))
            except MullError:
                self._errand.refused()
                raise
            else:
                self._errand.replica.pulse.watch(self)
                return self._response

    async def _asked(self) -> aiohttp.ClientResponse:
        """Return the answer of the replica that has the request, once its head is there. Raises `MullError`."""
        replica, self.refused = self._errand.replica, False
        try:
            response = await replica.pulse.wait_for(asyncio.shield(self._sending))
            if response.status == 200:
                return response
            content = await replica.pulse.wait_for(response.read())
        except LOST as cause:
            raise lost(replica.title, cause) from cause
        self.refused = True
        failure = refused(replica.title, response.status, content, served_name=self._served_name)
        raise as_bad_request(failure, response.status, self._bad_request)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        while not self._events:
            self.heard = self._time()
            part = await response.content.readany()
            self.heard = inf  # a reader who takes his time is no silence of the engine's
            if not part:
                self.ended = True
                return
            self._events.extend(self._lines.feed(part))

"""Waiting for an engine that may have gone without a word."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar

import aiohttp

from service.engines.failures import gone, silent
from service.engines.http import EngineClient
from service.errors import EngineError

T = TypeVar("T")
SILENCE_S = 2.0


class Watched(Protocol):
    """A request in flight; `heard` is when the engine last said something about it, on the event loop's clock."""

    heard: float

    def lose(self, why: EngineError) -> None:
        """End the request with that error: nothing more is expected."""
        ...


class _Wait:
    def __init__(self, timeout: asyncio.Timeout) -> None:
        self.heard = _now()
        self.why: EngineError | None = None
        self._timeout = timeout

    def lose(self, why: EngineError) -> None:
        self.why = why
        self._timeout.reschedule(_now())


class Pulse:
    """Asks after an engine's health while it is silent, and ends requests that were silent for `limit_s` seconds.

    A vLLM server that is told to stop closes its door at once, yet holds the connections that it has open and sends
    nothing more on them: without this, a search would wait for the whole limit. One timer looks after all requests
    in flight, and one question serves all that are silent.
    """

    def __init__(self, engine: str, client: EngineClient, limit_s: float) -> None:
        self._engine = engine
        self._client = client
        self._limit_s = limit_s
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def watch(self, request: Watched) -> None:
        """Look after a request until `leave`."""
        self._watched.add(request)
        if self._timer is None and self._asking is None:
            self._look_after(min(SILENCE_S, self._limit_s))

    def leave(self, request: Watched) -> None:
        """Forget a request; nothing is asked on behalf of none."""
        self._watched.discard(request)
        if self._asking is not None and not self._watched:
            self._asking.cancel()

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Return what `work` returns; raise `EngineError`, with `work` cancelled, when nothing more is expected."""
        timeout = asyncio.timeout(None)
        wait = _Wait(timeout)
        try:
            async with timeout:
                self.watch(wait)
                try:
                    return await work
                finally:
                    self.leave(wait)
        except TimeoutError as cause:
            if wait.why is not None:
                raise wait.why from cause
            raise

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._lose(silent(self._engine), self._limit_s, _now())
        if not self._watched:
            return
        silence = max(0.0, _now() - min(request.heard for request in self._watched))
        if silence < SILENCE_S:
            self._look_after(min(SILENCE_S, self._limit_s) - silence)
        else:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        asked = _now()
        try:
            if not await self._there():
                self._lose(gone(self._engine), SILENCE_S, asked)
        finally:
            self._asking = None
            if self._watched:
                self._look_after(min(SILENCE_S, self._limit_s))

    def _lose(self, why: EngineError, silence_s: float, now: float) -> None:
        for request in [request for request in self._watched if now - request.heard >= silence_s]:
            self._watched.discard(request)
            request.lose(why)

    async def _there(self) -> bool:
        """Whether anyone answers; an engine too busy to answer is still there."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
        try:
            async with await self._client.request("GET", "/health", limits=limits) as response:
                return response.status != 503
        except aiohttp.SocketTimeoutError:
            return True
        except (aiohttp.ClientError, OSError):
            return False


def _now() -> float:
    return asyncio.get_running_loop().time()

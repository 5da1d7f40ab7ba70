"""Waiting for a server that may have gone without a word."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import aiohttp

from service.engines.failures import gone, silent
from service.engines.http import EngineClient
from service.errors import EngineError

T = TypeVar("T")
SILENCE_S = 2.0
PATIENCE = 3
"""Questions after its health in a row that a server may leave without any answer where there are others."""


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
    """Asks after a server's health while it is silent, and ends requests that were silent for `limit_s` seconds.

    A vLLM server that is told to stop closes its door at once, yet holds the connections that it has open and sends
    nothing more on them: without this, a search would wait for the whole limit. One timer looks after all requests
    in flight, and one question serves all that are silent. `down` is told when the server is found not to be there.

    A server that does not even answer about its health may be busy. With `patience` that many such questions in a row
    end what waits for it: it hangs, and others can do its work. At 2 s of silence and 2 s for each question a server
    that is stopped (SIGSTOP) is left after some 8 s.
    """

    def __init__(
        self,
        engine: str,
        client: EngineClient,
        limit_s: float,
        *,
        down: Callable[[EngineError], None],
        patience: int | None = None,
    ) -> None:
        self._engine = engine
        self._client = client
        self._limit_s = limit_s
        self._down = down
        self._patience = patience
        self._missed = 0
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
        if not self._watched:
            self._missed = 0
            if self._asking is not None:
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

    async def healthy(self, limit_s: float) -> bool:
        """Whether the server says within `limit_s` seconds that it is well."""
        try:
            return await self._health(limit_s) < 500
        except (aiohttp.ClientError, OSError):
            return False

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
            self._missed = 0
            self._look_after(min(SILENCE_S, self._limit_s) - silence)
        else:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        asked = _now()
        again_s = min(SILENCE_S, self._limit_s)
        try:
            there = await self._there()
            self._missed = self._missed + 1 if there is None else 0
            if there is False:
                self._give_up(gone(self._engine), asked)
            elif self._patience is not None and self._missed >= self._patience:
                self._missed = 0
                self._give_up(silent(self._engine), asked)
            elif self._patience is not None and self._missed > 0:
                again_s = 0.0
        finally:
            self._asking = None
            if self._watched:
                self._look_after(again_s)

    def _give_up(self, why: EngineError, asked: float) -> None:
        self._down(why)
        self._lose(why, SILENCE_S, asked)

    def _lose(self, why: EngineError, silence_s: float, now: float) -> None:
        for request in [request for request in self._watched if now - request.heard >= silence_s]:
            self._watched.discard(request)
            request.lose(why)

    async def _there(self) -> bool | None:
        """Whether anyone answers; `None` where nobody does in time: one that is too busy to answer is still there."""
        try:
            return await self._health(SILENCE_S) != 503
        except aiohttp.SocketTimeoutError:
            return None
        except (aiohttp.ClientError, OSError):
            return False

    async def _health(self, limit_s: float) -> int:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=limit_s, sock_read=limit_s)
        async with await self._client.request("GET", "/health", limits=limits) as response:
            return response.status


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Waiting for an engine that may have gone without a word."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx

from service.engines.failures import gone

T = TypeVar("T")
SILENCE_S = 2.0


class Pulse:
    """Asks after an engine's health while it is silent.

    A vLLM server that is told to stop closes its door at once, yet holds the connections that it has open and sends
    nothing more on them: without this, a search would wait for the whole read timeout.
    """

    def __init__(self, engine: str, http: httpx.AsyncClient) -> None:
        self._engine = engine
        self._http = http
        self._asking = asyncio.Lock()
        self._felt = 0.0

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; raise `EngineUnavailable`, with `work` cancelled, once the engine has gone."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=SILENCE_S))[0]:
                await self._feel()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _feel(self) -> None:
        """One question serves all that wait; an engine too busy to answer it is still there."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now - self._felt < SILENCE_S:
                return
            try:
                response = await self._http.get("/health", timeout=SILENCE_S)
            except httpx.ReadTimeout:
                pass
            except httpx.TransportError as cause:
                raise gone(self._engine) from cause
            else:
                if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    raise gone(self._engine)
            self._felt = now

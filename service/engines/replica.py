"""One server of an engine, as one worker sees it: its connections, its health, and what it has in flight."""

from collections import Counter
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

import aiohttp
from pydantic import AnyHttpUrl

from service.engines.abort import Aborts
from service.engines.breaker import Breaker
from service.engines.failures import LOST, lost
from service.engines.http import EngineClient
from service.engines.outcome import Outcome
from service.engines.pulse import PATIENCE, Pulse
from service.settings import Engine
from service.tracing.carried import calling

ABORT_PATH = "/inference/v1/abort_requests"
HEALTHY_WITHIN_S = 1.0
_NO_SUCH_THING = {403, 404, 405}  # vLLM started without --enable-scale-out; older; or a proxy that lets little through


class Replica:
    """`name` is its URL; `load` is what it has in flight of this worker's requests, `routed` what it has ever had,
    `over` how what it had has ended. `address`: host and port alone.

    One that is `alone` is waited for until a request's own limit, however silent it is: nobody else can do its work.
    """

    def __init__(self, engine: Engine, url: AnyHttpUrl, title: str, *, alone: bool) -> None:
        self.name = str(url)
        self.title = title
        self.load = 0
        self.routed = 0
        self.over: Counter[Outcome] = Counter()
        self.address = f"{url.host}:{url.port}"
        self.aborts = Aborts(self._abort)
        self.breaker = Breaker(title, self._healthy)
        self._client = EngineClient(engine, url)
        self.pulse = Pulse(
            title, self._client, engine.timeout_s, down=self.breaker.trip, patience=None if alone else PATIENCE
        )

    def send(
        self, method: str, path: str, body: object = None, request_id: str | None = None
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Return the response, once its head is there. Raises what aiohttp raises."""
        headers = None if request_id is None else {"X-Request-Id": request_id}
        if (call := calling.get()) is not None:
            call.server = self.name
            headers = {**call.headers, **(headers or {})}
        return self._client.request(method, path, json=body, headers=headers)

    async def whole(self, method: str, path: str, body: object, request_id: str | None) -> tuple[int, bytes]:
        """Return status and content of a whole answer. Raises `EngineError` where none comes."""
        try:
            return await self.pulse.wait_for(_read(self.send(method, path, body, request_id)))
        except LOST as cause:
            raise lost(self.title, cause) from cause

    async def aclose(self) -> None:
        """Close the connections; what is in flight fails."""
        self.pulse.close()
        await self.breaker.aclose()
        await self._client.aclose()

    async def _healthy(self) -> bool:
        return await self.pulse.healthy(HEALTHY_WITHIN_S)

    async def _abort(self, request_ids: Sequence[str]) -> bool:
        """Post an abort and return whether the engine takes such a thing; one that got lost is sent again anyway."""
        # vLLM's own names: `cmpl-` for a completion, and the number of the prompt in its request.
        body = {"request_ids": [f"cmpl-{request_id}-0" for request_id in request_ids]}
        try:
            status, _ = await _read(self.send("POST", ABORT_PATH, body))
        except LOST:
            return True
        return status not in _NO_SUCH_THING


async def _read(request: Awaitable[aiohttp.ClientResponse]) -> tuple[int, bytes]:
    async with await request as response:
        return response.status, await response.read()

"""One engine over HTTP: JSON in, JSON or server-sent events out."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from service.engines.failures import lost, refused, unusable
from service.engines.pulse import Pulse
from service.engines.sse import data_lines
from service.errors import EngineError, MullError
from service.settings import Engine

Json = dict[str, Any]


def engine_client(engine: Engine, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return the HTTP client of one engine; raises `ValueError` where it has no `url`."""
    if engine.url is None:
        raise ValueError(f"{engine.name} has no url: say in mull.yaml where it runs, or start it with `mull up`")
    headers = {"Authorization": f"Bearer {engine.api_key.get_secret_value()}"} if engine.api_key else {}
    if engine.url.scheme == "http":
        # A new connection is cheaper than httpx's search through a pool of many: 2 ms of CPU against 12 at 64 streams.
        headers["Connection"] = "close"
    return httpx.AsyncClient(
        base_url=str(engine.url),
        headers=headers,
        timeout=httpx.Timeout(engine.timeout_s, connect=min(5.0, engine.timeout_s), pool=None),
        # How many are in flight is the search's affair. vLLM closes what was idle for 5 s: be quicker.
        limits=httpx.Limits(max_keepalive_connections=engine.slots, keepalive_expiry=3.0),
        # A proxy for the way to the internet is not one for the engines beside us.
        trust_env=False,
        transport=transport,
    )


class EngineHttp:
    """Requests to one engine; every method raises `EngineError` and its children, or `QuestionTooLong`."""

    def __init__(self, role: str, engine: Engine, http: httpx.AsyncClient) -> None:
        self.title = f"{role} {engine.name!r}"
        self.model = engine.name
        self._http = http
        self._pulse = Pulse(self.title, http)

    async def get(self, path: str) -> Json:
        """Return the JSON object at `path`."""
        return self._object(await self._send(self._http.build_request("GET", path), EngineError))

    async def text(self, path: str) -> str:
        """Return the plain text at `path`."""
        content = await self._send(self._http.build_request("GET", path), EngineError)
        return content.decode("utf-8", "replace")

    async def post(self, path: str, body: Json, *, bad_request: type[MullError] = EngineError) -> Json:
        """Send `body`, with the model's name, and return the JSON object that comes back.

        Status 400 is raised as `bad_request`: a chat that a template refuses is the client's to mend.
        """
        request = self._http.build_request("POST", path, json={"model": self.model, **body})
        return self._object(await self._send(request, bad_request))

    @asynccontextmanager
    async def stream(self, path: str, body: Json) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send `body` and yield the events that come back; leaving the block aborts the request."""
        try:
            request = self._http.build_request("POST", path, json={"model": self.model, **body})
            response = await self._pulse.wait_for(self._http.send(request, stream=True))
            async with aclosing(response):
                if response.status_code != httpx.codes.OK:
                    content = await response.aread()
                    raise refused(self.title, response.status_code, content, served_name=self.model)
                yield self._attended(data_lines(response.aiter_bytes()))
        except httpx.HTTPError as cause:
            raise lost(self.title, cause) from cause

    async def context_length(self) -> int:
        """Return the longest prompt plus continuation that the engine takes, in tokens."""
        data = (await self.get("/v1/models")).get("data")
        cards = {card.get("id"): card for card in data if isinstance(card, dict)} if isinstance(data, list) else {}
        if self.model not in cards:
            known = ", ".join(sorted(str(name) for name in cards))
            hint = f"Set served_name to one of: {known}."
            raise unusable(self.title, "serves no model of that name", hint=hint)
        card = cards[self.model]
        length = card.get("max_model_len") or cards.get(card.get("parent"), {}).get("max_model_len")
        if not isinstance(length, int):
            raise unusable(self.title, "does not tell its context length", hint="Is it a vLLM server?")
        return length

    async def _send(self, request: httpx.Request, bad_request: type[MullError]) -> bytes:
        try:
            response = await self._pulse.wait_for(self._http.send(request))
        except httpx.HTTPError as cause:
            raise lost(self.title, cause) from cause
        if response.status_code == httpx.codes.OK:
            return response.content
        failure = refused(self.title, response.status_code, response.content, served_name=self.model)
        if response.status_code == httpx.codes.BAD_REQUEST and type(failure) is EngineError:
            raise bad_request(failure.message, hint=failure.hint)
        raise failure

    async def _attended(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while (event := await self._pulse.wait_for(_next(events))) is not None:
            yield event

    def _object(self, content: bytes) -> Json:
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise unusable(self.title, "did not answer with a JSON object", hint="Is it a vLLM server?")
        return parsed


async def _next(events: AsyncIterator[bytes]) -> bytes | None:
    return await anext(events, None)

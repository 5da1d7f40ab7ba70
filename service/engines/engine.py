"""One engine: JSON in, JSON or server-sent events out."""

import json
from collections.abc import Awaitable, Sequence
from typing import Any

import aiohttp

from service.engines.abort import Aborts
from service.engines.failures import LOST, as_bad_request, lost, refused, unusable
from service.engines.http import EngineClient
from service.engines.pulse import Pulse
from service.engines.stream import EngineStream
from service.errors import EngineError, MullError
from service.settings import Engine

Json = dict[str, Any]

ABORT_PATH = "/inference/v1/abort_requests"
_NO_SUCH_THING = {403, 404, 405}  # vLLM started without --enable-scale-out; older; or a proxy that lets little through


class EngineHttp:
    """Requests to one engine; every method raises `EngineError` and its children, or `QuestionTooLong`.

    A request that is sent with a `request_id` (see `new_request_id`) can be given up by name through `aborts`.
    """

    def __init__(self, role: str, engine: Engine, client: EngineClient) -> None:
        self.title = f"{role} {engine.name!r}"
        self.model = engine.name
        self.aborts = Aborts(self._abort)
        self._client = client
        self._pulse = Pulse(self.title, client, engine.timeout_s)

    async def get(self, path: str) -> Json:
        """Return the JSON object at `path`."""
        return self._object(await self._whole("GET", path))

    async def text(self, path: str) -> str:
        """Return the plain text at `path`."""
        return (await self._whole("GET", path)).decode("utf-8", "replace")

    async def post(
        self, path: str, body: Json, *, bad_request: type[MullError] = EngineError, request_id: str | None = None
    ) -> Json:
        """Send `body`, with the model's name, and return the JSON object that comes back.

        Status 400 is raised as `bad_request`: a chat that a template refuses is the client's to mend.
        """
        content = await self._whole("POST", path, body, bad_request=bad_request, request_id=request_id)
        return self._object(content)

    def stream(
        self, path: str, body: Json, *, request_id: str, bad_request: type[MullError] = EngineError
    ) -> EngineStream:
        """Send `body`, with the model's name, and return the events that come back, to be closed by the caller.

        Reading them raises status 400 as `bad_request`.
        """
        response = self._client.request("POST", path, json={"model": self.model, **body}, headers=_named(request_id))
        return EngineStream(self.title, self.model, response, self._pulse, bad_request)

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

    async def aclose(self) -> None:
        """Close the connections; what is in flight fails."""
        self._pulse.close()
        await self._client.aclose()

    async def _whole(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        bad_request: type[MullError] = EngineError,
        request_id: str | None = None,
    ) -> bytes:
        sent = None if body is None else {"model": self.model, **body}
        request = self._client.request(method, path, json=sent, headers=_named(request_id))
        try:
            status, content = await self._pulse.wait_for(_read(request))
        except LOST as cause:
            raise lost(self.title, cause) from cause
        if status == 200:
            return content
        raise as_bad_request(refused(self.title, status, content, served_name=self.model), status, bad_request)

    async def _abort(self, request_ids: Sequence[str]) -> bool:
        """Post an abort and return whether the engine takes such a thing; one that got lost is sent again anyway."""
        # vLLM's own names: `cmpl-` for a completion, and the number of the prompt in its request.
        body = {"request_ids": [f"cmpl-{request_id}-0" for request_id in request_ids]}
        try:
            status, _ = await _read(self._client.request("POST", ABORT_PATH, json=body))
        except LOST:
            return True
        return status not in _NO_SUCH_THING

    def _object(self, content: bytes) -> Json:
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise unusable(self.title, "did not answer with a JSON object", hint="Is it a vLLM server?")
        return parsed


def _named(request_id: str | None) -> dict[str, str] | None:
    return None if request_id is None else {"X-Request-Id": request_id}


async def _read(request: Awaitable[aiohttp.ClientResponse]) -> tuple[int, bytes]:
    async with await request as response:
        return response.status, await response.read()

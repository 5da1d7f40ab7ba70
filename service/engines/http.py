"""The connections to one server."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from pydantic import AnyHttpUrl
from yarl import URL

from service.settings import Engine

CONNECT_S = 5.0
# vLLM closes a connection that was idle for 5 s: be quicker.
IDLE_S = 3.0


@dataclass(slots=True)
class _Attempt:
    reused: bool = False


async def _reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.reused = True


class EngineClient:
    """An HTTP session with the server at `url`; its requests raise aiohttp's errors.

    It is opened by the first of them, so that this can be made outside an event loop.
    """

    def __init__(self, engine: Engine, url: AnyHttpUrl) -> None:
        self._root = str(url).rstrip("/")
        self._urls: dict[str, URL] = {}
        self._headers = {"Authorization": f"Bearer {engine.api_key.get_secret_value()}"} if engine.api_key else {}
        # How long an answer may take is `Pulse`'s affair: a timer per read costs more than the read.
        self._limits = aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_S, engine.timeout_s))
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        headers: dict[str, str] | None = None,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        """Return the response once its head is there.

        An idle connection that the engine closed just as it was to be used again is an accident of HTTP, not a
        failure: the request is sent once more.
        """
        attempt = _Attempt()
        options: dict[str, Any] = {"json": json, "headers": headers, "timeout": limits or self._limits}
        options["allow_redirects"] = False
        session, url = self._opened(), self._url(path)
        try:
            return await session.request(method, url, trace_request_ctx=attempt, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not attempt.reused:
                raise
        return await session.request(method, url, trace_request_ctx=_Attempt(), **options)

    async def aclose(self) -> None:
        """Close all connections; what is in flight fails."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            reuse = aiohttp.TraceConfig()
            reuse.on_connection_reuseconn.append(_reused)
            self._session = aiohttp.ClientSession(
                # How many are in flight is the search's affair.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                # A proxy for the way to the internet is not one for the engines beside us.
                trust_env=False,
                trace_configs=[reuse],
            )
        return self._session

    def _url(self, path: str) -> URL:
        if path not in self._urls:
            self._urls[path] = URL(self._root + path)
        return self._urls[path]

"""How long a request may wait for what is only a help."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.redis_allowance import allowance


class Allowed:
    """ASGI middleware: all that one request asks of Redis keeps it waiting for `redis_s` seconds at most."""

    def __init__(self, app: ASGIApp, redis_s: float) -> None:
        self._app = app
        self._redis_s = redis_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with allowance(self._redis_s):
            await self._app(scope, receive, send)

"""When Redis is left alone, and how it is noticed that it is back: by asking it beside all requests."""

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Awaitable, Callable

_DOWN_AFTER = 2
"""Failures one after the other. A single one, or many at the same moment, may be a lost connection or a hiccup."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_SETTLED_S = 10.0
"""Redis that is lost again sooner than this is asked after longer and longer pauses."""

_log = logging.getLogger("mull.redis")


class Breaker:
    """Opens when commands fail, and closes when `probe` says that Redis answers; a line in the log tells of both."""

    def __init__(self, probe: Callable[[], Awaitable[bool]]) -> None:
        self._probe = probe
        self.failures = 0
        self._probing: asyncio.Task[None] | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._closed_at = 0.0

    @property
    def open(self) -> bool:
        """Whether Redis is not to be asked now."""
        return self._probing is not None and not self._probing.done()

    def failed(self, why: str, failures: int) -> None:
        """Note a command that got no answer; `failures` is what there was of them in a row when it was sent."""
        if self.open or failures != self.failures:
            return
        self.failures += 1
        if self.failures < _DOWN_AFTER:
            return
        _log.warning("Redis does not answer (%s): going on without it", why)
        if time.monotonic() - self._closed_at >= _SETTLED_S:
            self._pause_s = _FIRST_PAUSE_S
        # In a context of its own: it is no part of the request that happened to be the one to fail.
        self._probing = asyncio.create_task(self._heal(), context=contextvars.Context())

    def answered(self) -> None:
        """Note a command that got an answer."""
        self.failures = 0

    async def aclose(self) -> None:
        """Stop asking."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    async def _heal(self) -> None:
        while True:
            # Gateways and workers that lost Redis together do not come back to it together.
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1))
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            if await self._probe():
                break
        self.failures = 0
        self._closed_at = time.monotonic()
        _log.warning("Redis answers again")

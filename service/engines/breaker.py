"""A server that fails is left alone for a moment, and asked after its health until it is well again."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Literal

from service.errors import EngineError

THRESHOLD = 5
"""Failures in a row after which nothing more is asked of a server."""
FIRST_S, LONGEST_S = 0.1, 1.0
"""How long it is left alone at first, and at most; in between twice as long each time, of which at least half."""

_log = logging.getLogger("mull.engines")


class Breaker:
    """Closed: requests go through. Open: none does. Half open: they do, and the first that fails opens it again.

    It opens after `THRESHOLD` failures in a row, or by `trip`. `healthy` is then asked in the background, and one yes
    half opens it; a request that is answered closes it. What was sent before it opened last says nothing of the server
    now: each request keeps the `epoch` in which it was sent. `why` is what opened it.
    """

    def __init__(
        self,
        name: str,
        healthy: Callable[[], Awaitable[bool]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.state: Literal["closed", "open", "half open"] = "closed"
        self.epoch = 0
        self.why: EngineError | None = None
        self._name = name
        self._healthy = healthy
        self._sleep = sleep
        self._jitter = jitter
        self._failures = 0
        self._delay_s = FIRST_S
        self._asking: asyncio.Task[None] | None = None

    @property
    def lets_in(self) -> bool:
        """Whether a request may go to the server."""
        return self.state != "open"

    def succeeded(self, epoch: int) -> None:
        """Take in that a request which was sent in `epoch` has been answered."""
        if epoch == self.epoch:
            self.state, self._failures, self._delay_s = "closed", 0, FIRST_S

    def failed(self, epoch: int, why: EngineError) -> None:
        """Take in that a request which was sent in `epoch` has failed for a fault of the server's."""
        if epoch != self.epoch:
            return
        self._failures += 1
        if self.state == "half open" or self._failures >= THRESHOLD:
            self.trip(why)

    def trip(self, why: EngineError) -> None:
        """Open at once."""
        if self.state == "open":
            return
        self.state, self.why = "open", why
        self.epoch += 1
        self._failures = 0
        _log.warning("the %s is left alone until it is well: %s", self._name, why.message)
        self._asking = asyncio.create_task(self._ask())

    async def aclose(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask(self) -> None:
        while True:
            delay, self._delay_s = self._delay_s, min(2 * self._delay_s, LONGEST_S)
            await self._sleep(self._jitter(delay / 2, delay))
            if await self._healthy():
                self.state = "half open"
                _log.warning("the %s is asked again", self._name)
                return

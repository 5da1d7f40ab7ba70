"""The way to Redis: a help, never a need.

Every command is bounded in time and tried once, and a failure means that the request goes on without it. A server
that does not answer is left alone for a while.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from service.settings import RedisSettings

CONNECTIONS = 16
_DOWN_AFTER = 3
_PAUSE_S = 1.0
_log = logging.getLogger("mull.redis")


class RedisLink:
    """The connections of one process to a Redis-protocol server, used for `purpose` ("the result cache")."""

    def __init__(self, settings: RedisSettings, purpose: str) -> None:
        """`settings.url` missing or `enabled: false` makes a link that is always off."""
        self._redis = _client(settings)
        self._timeout_s = settings.timeout_ms / 1000
        self._purpose = purpose
        self._failures = 0
        self._failed_at = 0.0
        self._turns = asyncio.Semaphore(CONNECTIONS)

    @property
    def state(self) -> Literal["on", "off", "down"]:
        """`off`: not configured; `down`: Redis has not answered several times in a row."""
        if self._redis is None:
            return "off"
        return "down" if self._down else "on"

    async def ask(self, command: Callable[[Redis], Awaitable[Any]]) -> tuple[bool, Any]:
        """Return whether Redis answered one command within `redis.timeout_ms`, and what it answered.

        The clock starts with the command's turn, and a reply that has come while this process was busy counts: a
        crowd of requests is no outage.
        """
        if (redis := self._redis) is None:
            return False, None
        async with self._turns:
            if self._pausing():
                return False, None
            asking = asyncio.ensure_future(command(redis))
            try:
                await asyncio.wait({asking}, timeout=self._timeout_s)
                if not asking.done():
                    raise TimeoutError
                value = asking.result()
            except (RedisError, OSError, TimeoutError) as error:
                self._note_failure(error)
                return False, None
            finally:
                asking.cancel()
            self._note_success()
            return True, value

    async def aclose(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    @property
    def _down(self) -> bool:
        return self._failures >= _DOWN_AFTER

    def _pausing(self) -> bool:
        """While Redis is down, ask it once a second and no more: requests do not queue up for an outage."""
        return self._down and time.monotonic() - self._failed_at < _PAUSE_S

    def _note_failure(self, error: BaseException) -> None:
        self._failures += 1
        self._failed_at = time.monotonic()
        if self._failures == _DOWN_AFTER:
            _log.warning("Redis does not answer (%s): going on without %s", type(error).__name__, self._purpose)

    def _note_success(self) -> None:
        if self._down:
            _log.warning("Redis answers again: %s is back", self._purpose)
        self._failures = 0


def _client(settings: RedisSettings) -> Redis | None:
    if not settings.enabled or settings.url is None:
        return None
    pool = ConnectionPool.from_url(
        settings.url.get_secret_value(),
        # Time is kept here, not by the library; its ten retries would outlast what a request may wait.
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        protocol=2,
    )
    return Redis.from_pool(pool)

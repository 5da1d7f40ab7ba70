"""Finished searches kept in Redis: a question asked twice in the same way is searched once.

Redis is a help, never a need: every operation is bounded in time, tried once, and a failure means that the
request goes on without it.
"""

import asyncio
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Literal

from pydantic import ValidationError
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from service.search.request import SearchRequest, SearchResult
from service.settings import RedisSettings, Settings
from strategies.adaptive_consistency import DECIDED_BETA
from strategies.early_stop import DECIDED
from strategies.flat import COMPLETED

Outcome = Literal["hit", "miss", "off", "error"]
"""What a look-up came to: `off` is a cache that is not configured, `error` one that did not answer."""

FORMAT = 3
"""Raised whenever `SearchResult` changes; values of another format are misses."""

_CONNECTIONS = 16
_ENDS = {COMPLETED, DECIDED, DECIDED_BETA}
_WHERE_IT_RUNS = {"url", "api_key_env", "slots", "timeout_s", "flags", "price"}
_DOWN_AFTER = 3
_PAUSE_S = 1.0
_log = logging.getLogger("mull.cache")


class ResultCache:
    """Results of complete searches by their request, in a Redis-protocol server."""

    def __init__(self, settings: Settings) -> None:
        """`settings.redis.url` missing or `enabled: false` makes a cache that is always off."""
        self._settings = settings
        self._redis = _client(settings.redis)
        self._models = {name: _identity(settings, name) for name in settings.models}
        self._tag = f"mull/{FORMAT}/{version('mull')}\n".encode()
        self._failures = 0
        self._failed_at = 0.0
        self._turns = asyncio.Semaphore(_CONNECTIONS)

    @property
    def state(self) -> Literal["on", "off", "down"]:
        """`off`: not configured; `down`: Redis has not answered several times in a row."""
        if self._redis is None:
            return "off"
        return "down" if self._down else "on"

    def key(self, request: SearchRequest) -> str:
        """Return the name under which the result of `request` is kept.

        It covers everything that decides a complete result: the request, the two models with their prompt and
        sampling presets, and Mull's version. Deadline and parallelism decide whether a search completes, not
        what it then says, so they are left out.
        """
        asked = request.model_dump(mode="json", exclude={"budget": {"deadline_ms", "parallel"}})
        whole = {"request": asked, "models": self._models[request.model], "tag": self._tag.decode()}
        canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        return "mull:result:" + hashlib.sha256(canonical.encode()).hexdigest()

    async def get(self, request: SearchRequest) -> tuple[SearchResult | None, Outcome]:
        """Return the result of an earlier equal request, if there is one, and what the look-up came to."""
        if (redis := self._redis) is None:
            return None, "off"
        key = self.key(request)
        answered, value = await self._bounded(lambda: redis.get(key))
        if not answered:
            return None, "error"
        result = self._decode(value)
        return result, "miss" if result is None else "hit"

    async def put(self, request: SearchRequest, result: SearchResult) -> None:
        """Keep `result` for `redis.ttl_s` seconds if its search came to its end; one cut short is not kept."""
        if (redis := self._redis) is None or result.stopped_by not in _ENDS:
            return
        key, lifetime = self.key(request), self._settings.redis.ttl_s
        value = self._tag + zlib.compress(result.model_dump_json().encode(), level=1)
        await self._bounded(lambda: redis.set(key, value, ex=lifetime))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    @property
    def _down(self) -> bool:
        return self._failures >= _DOWN_AFTER

    async def _bounded(self, command: Callable[[], Awaitable[Any]]) -> tuple[bool, Any]:
        """Return whether Redis answered one command within `redis.timeout_ms`, and what it answered.

        The clock starts with the command's turn, and a reply that has come while this process was busy counts: a
        crowd of requests is no outage.
        """
        async with self._turns:
            if self._pausing():
                return False, None
            asking = asyncio.ensure_future(command())
            try:
                await asyncio.wait({asking}, timeout=self._settings.redis.timeout_ms / 1000)
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

    def _decode(self, value: bytes | str | None) -> SearchResult | None:
        if not isinstance(value, bytes) or not value.startswith(self._tag):
            return None
        try:
            return SearchResult.model_validate_json(zlib.decompress(value[len(self._tag) :]))
        except (zlib.error, ValidationError):
            return None

    def _pausing(self) -> bool:
        """While Redis is down, ask it once a second and no more: requests do not queue up for an outage."""
        return self._down and time.monotonic() - self._failed_at < _PAUSE_S

    def _note_failure(self, error: BaseException) -> None:
        self._failures += 1
        self._failed_at = time.monotonic()
        if self._failures == _DOWN_AFTER:
            _log.warning("Redis does not answer (%s): going on without the result cache", type(error).__name__)

    def _note_success(self) -> None:
        if self._down:
            _log.warning("Redis answers again: the result cache is back")
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


def _identity(settings: Settings, name: str) -> dict[str, Any]:
    """Return what makes one public model's answers its own. Where its engines run is no part of that."""
    public = settings.models[name]
    policy = settings.policies[public.policy]
    template = policy.prompt.template_file
    reward = settings.reward_models[public.reward] if public.reward is not None else None
    return {
        "policy": policy.model_dump(mode="json", exclude=_WHERE_IT_RUNS),
        "template": hashlib.sha256(template.read_bytes()).hexdigest() if template is not None else None,
        "reward": reward.model_dump(mode="json", exclude=_WHERE_IT_RUNS) if reward is not None else None,
    }

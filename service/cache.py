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

Outcome = Literal["hit", "miss", "off", "error"]
"""What a look-up came to: `off` is a cache that is not configured, `error` one that did not answer."""

FORMAT = 1
"""Raised whenever `SearchResult` changes; values of another format are misses."""

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
        self._failed_at: float | None = None

    @property
    def state(self) -> Literal["on", "off", "down"]:
        """`off`: not configured; `down`: Redis did not answer the last time it was asked."""
        if self._redis is None:
            return "off"
        return "on" if self._failed_at is None else "down"

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
        if self._redis is None:
            return None, "off"
        if self._pausing():
            return None, "error"
        key = self.key(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await self._redis.get(key)
        except (RedisError, OSError, TimeoutError) as error:
            self._note_failure(error)
            return None, "error"
        self._note_success()
        result = self._decode(value)
        return result, "miss" if result is None else "hit"

    async def put(self, request: SearchRequest, result: SearchResult) -> None:
        """Keep `result` for `redis.ttl_s` seconds if its search was complete; one cut short is not kept."""
        if self._redis is None or result.stopped_by != "completed" or self._pausing():
            return
        value = self._tag + zlib.compress(result.model_dump_json().encode(), level=1)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.set(self.key(request), value, ex=self._settings.redis.ttl_s)
        except (RedisError, OSError, TimeoutError) as error:
            self._note_failure(error)
        else:
            self._note_success()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    @property
    def _timeout_s(self) -> float:
        return self._settings.redis.timeout_ms / 1000

    def _decode(self, value: bytes | str | None) -> SearchResult | None:
        if not isinstance(value, bytes) or not value.startswith(self._tag):
            return None
        try:
            return SearchResult.model_validate_json(zlib.decompress(value[len(self._tag) :]))
        except (zlib.error, ValidationError):
            return None

    def _pausing(self) -> bool:
        """After a failure, leave Redis alone for a second: no request pays for the same outage twice."""
        return self._failed_at is not None and time.monotonic() - self._failed_at < _PAUSE_S

    def _note_failure(self, error: BaseException) -> None:
        if self._failed_at is None:
            _log.warning("Redis does not answer (%s): going on without the result cache", type(error).__name__)
        self._failed_at = time.monotonic()

    def _note_success(self) -> None:
        if self._failed_at is not None:
            _log.warning("Redis answers again: the result cache is back")
        self._failed_at = None


def _client(settings: RedisSettings) -> Redis | None:
    if not settings.enabled or settings.url is None:
        return None
    pool = ConnectionPool.from_url(
        settings.url.get_secret_value(),
        socket_timeout=settings.timeout_ms / 1000,
        socket_connect_timeout=settings.timeout_ms / 1000,
        # The library's ten retries, and its ten-second patience with a server in maintenance, would each
        # outlast the time a request may wait.
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
        "policy": policy.model_dump(
            mode="json", include={"model", "served_name", "prompt", "step_separator", "sampling"}
        ),
        "template": hashlib.sha256(template.read_bytes()).hexdigest() if template is not None else None,
        "reward": reward.model_dump(mode="json", exclude={"url", "api_key_env", "slots", "timeout_s", "flags", "price"})
        if reward is not None
        else None,
    }

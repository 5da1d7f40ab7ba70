"""Finished searches kept in Redis: a question asked twice in the same way is searched once."""

import hashlib
import json
import zlib
from importlib.metadata import version
from typing import Any, Literal

from pydantic import ValidationError

from service.redis_link import RedisLink
from service.search.request import SearchRequest, SearchResult
from service.settings import Settings
from strategies.adaptive_consistency import DECIDED_BETA
from strategies.early_stop import DECIDED
from strategies.flat import COMPLETED

Outcome = Literal["hit", "miss", "off", "error"]
"""What a look-up came to: `off` is a cache that is not configured, `error` one that did not answer."""

FORMAT = 5
"""Raised whenever `SearchResult` changes; values of another format are misses."""

_ENDS = {COMPLETED, DECIDED, DECIDED_BETA}
_WHERE_IT_RUNS = {"url", "api_key_env", "slots", "timeout_s", "flags", "price"}


class ResultCache:
    """Results of complete searches by their request, in a Redis-protocol server."""

    def __init__(self, settings: Settings) -> None:
        """`settings.redis.url` missing or `enabled: false` makes a cache that is always off."""
        self._settings = settings
        self._link = RedisLink(settings.redis, "the result cache")
        self._models = {name: _identity(settings, name) for name in settings.models}
        self._tag = f"mull/{FORMAT}/{version('mull')}\n".encode()

    @property
    def state(self) -> Literal["on", "off", "down"]:
        """`off`: not configured; `down`: Redis has not answered several times in a row."""
        return self._link.state

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
        if self._link.state == "off":
            return None, "off"
        key = self.key(request)
        answered, value = await self._link.ask(lambda redis: redis.get(key))
        if not answered:
            return None, "error"
        result = self._decode(value)
        return result, "miss" if result is None else "hit"

    async def put(self, request: SearchRequest, result: SearchResult) -> None:
        """Keep `result` for `redis.ttl_s` seconds if its search came to its end; one cut short is not kept."""
        if self._link.state == "off" or result.stopped_by not in _ENDS:
            return
        key, lifetime = self.key(request), self._settings.redis.ttl_s
        value = self._tag + zlib.compress(result.model_dump_json().encode(), level=1)
        await self._link.ask(lambda redis: redis.set(key, value, ex=lifetime))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._link.aclose()

    def _decode(self, value: bytes | str | None) -> SearchResult | None:
        if not isinstance(value, bytes) or not value.startswith(self._tag):
            return None
        try:
            return SearchResult.model_validate_json(zlib.decompress(value[len(self._tag) :]))
        except (zlib.error, ValidationError):
            return None


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

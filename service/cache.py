"""Finished searches kept in Redis: a question asked twice in the same way is searched once."""

import hashlib
import json
import time
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from service.redis_link import RedisLink
from service.revision import policy_revision, reward_revision
from service.search.request import SearchRequest, SearchResult
from service.settings import Settings
from strategies.adaptive_consistency import DECIDED_BETA
from strategies.early_stop import DECIDED
from strategies.flat import COMPLETED

Outcome = Literal["hit", "miss", "off", "error"]
"""What a look-up came to: `off` is a cache that is not configured or not wanted, `error` one that did not answer."""

FORMAT = 6
"""Raised whenever `SearchResult` changes; values of another format are misses."""

_ENDS = {COMPLETED, DECIDED, DECIDED_BETA}


@dataclass(frozen=True, slots=True)
class Kept:
    """A result from the cache, found `age_s` seconds ago (≥ 0)."""

    result: SearchResult
    age_s: float


class ResultCache:
    """Results of complete searches by their request, in a Redis-protocol server."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        """`link` leads to where they are kept; without one the cache is off. Raises `OSError`, see `revision`."""
        self._kept = settings.redis
        self._link = link
        self._models = {name: _revisions(settings, name) for name in settings.models}
        self._tag = f"mull/{FORMAT}/{version('mull')}\n".encode()

    @property
    def state(self) -> Literal["on", "off", "down"]:
        """`off`: not configured; `down`: Redis has not answered several times in a row."""
        return self._link.state

    def key(self, request: SearchRequest) -> str:
        """Return the name under which the result of `request` is kept.

        It covers everything that decides a complete result: the request (messages, sampling, strategy, token budgets),
        the revisions of both models, and Mull's version. Deadline and parallelism decide whether a search completes,
        not what it then says, so they are left out.
        """
        asked = request.model_dump(mode="json", exclude={"budget": {"deadline_ms", "parallel"}, "memory": True})
        whole = {"request": asked, "models": self._models[request.model], "tag": self._tag.decode()}
        canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        return "mull:result:" + hashlib.sha256(canonical.encode()).hexdigest()

    async def get(self, request: SearchRequest, max_age_s: int | None = None) -> tuple[Kept | None, Outcome]:
        """Return the result of an earlier equal request, if there is one, and what the look-up came to.

        One older than `max_age_s` is none; `request.memory` says whether it is looked for at all.
        """
        if self._link.state == "off" or request.memory == "none":
            return None, "off"
        if request.memory == "renew":
            return None, "miss"
        key = self.key(request)
        answered, value = await self._link.ask(lambda redis: redis.get(key))
        if not answered:
            return None, "error"
        kept = self._decode(value)
        if kept is None or (max_age_s is not None and kept.age_s > max_age_s):
            return None, "miss"
        return kept, "hit"

    async def put(self, request: SearchRequest, result: SearchResult) -> None:
        """Keep `result` for `redis.ttl_s` seconds, unless its search was cut short.

        Nor is it kept where `request.memory` forbids it, or where it takes more than `redis.max_value_bytes`.
        """
        if self._link.state == "off" or request.memory == "none" or result.stopped_by not in _ENDS:
            return
        key, lifetime = self.key(request), self._kept.ttl_s
        value = self._tag + zlib.compress(f"{time.time():.3f}\n{result.model_dump_json()}".encode(), level=1)
        if len(value) <= self._kept.max_value_bytes:
            await self._link.ask(lambda redis: redis.set(key, value, ex=lifetime))

    def _decode(self, value: bytes | str | None) -> Kept | None:
        if not isinstance(value, bytes) or not value.startswith(self._tag):
            return None
        try:
            found, _, result = zlib.decompress(value[len(self._tag) :]).partition(b"\n")
            # Another machine's clock may be ahead of ours.
            return Kept(SearchResult.model_validate_json(result), max(0.0, time.time() - float(found)))
        except (zlib.error, ValueError):
            return None


def _revisions(settings: Settings, model: str) -> tuple[str, str | None]:
    """Return what makes one public model's answers its own. Where its engines run is no part of that."""
    reward = settings.reward_of(model)
    return policy_revision(settings, model), None if reward is None else reward_revision(reward)

"""Traces kept in Redis for those who asked for them, under the ids of their requests."""

import asyncio
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import EngineUnavailable, UnknownTrace
from service.redis_link import RedisLink
from service.settings import RedisSettings

MAX_BYTES = 8_000_000
"""Of one trace, compressed; a larger one is given to its client and not kept."""

Records = Sequence[Mapping[str, Any]]


class TraceStore:
    """Keeps the traces of one gateway's searches for `redis.trace_ttl_s` seconds."""

    def __init__(self, settings: RedisSettings) -> None:
        """`settings.url` missing or `enabled: false` makes a store that keeps nothing."""
        self._link = RedisLink(settings, "the traces of searches")
        self._ttl_s = settings.trace_ttl_s

    async def put(self, trace_id: str, records: Records, *, caller: str | None = None) -> None:
        """Keep a trace; lost where Redis does not answer. `caller` is the name of the key that may read it again."""
        if self._link.state == "off":
            return
        value = await asyncio.to_thread(_packed, records)
        if len(value) <= MAX_BYTES:
            await self._link.ask(lambda redis: redis.set(_key(trace_id, caller), value, ex=self._ttl_s))

    async def get(self, trace_id: str, *, caller: str | None = None) -> list[dict[str, Any]]:
        """Return the records of a trace, in order.

        Raises `UnknownTrace` where there is none, or none for this `caller`, and `EngineUnavailable` where Redis does
        not answer.
        """
        if self._link.state == "off":
            raise UnknownTrace("Traces are not kept: this gateway has no Redis.", hint="They are in the answer itself.")
        answered, value = await self._link.ask(lambda redis: redis.get(_key(trace_id, caller)))
        if not answered:
            raise EngineUnavailable("Redis, where traces are kept, does not answer.", hint="Try again in a moment.")
        if not isinstance(value, bytes):
            raise UnknownTrace(
                f"There is no trace {trace_id!r}.",
                hint=f'Searches with {{"mull": {{"include": ["trace"]}}}} leave one, for {self._ttl_s} s.',
                param="id",
            )
        return await asyncio.to_thread(_unpacked, value)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._link.aclose()


def _key(trace_id: str, caller: str | None) -> str:
    """Clients choose ids, and may write anything into them: none is seen in Redis, or found by another key's client."""
    whole = json.dumps([caller, trace_id])
    return "mull:trace:" + hashlib.sha256(whole.encode()).hexdigest()


def _packed(records: Records) -> bytes:
    return zlib.compress(json.dumps(list(records), ensure_ascii=False).encode(), level=1)


def _unpacked(value: bytes) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(zlib.decompress(value))
    return records

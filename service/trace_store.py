"""Traces kept in Redis for those who asked for them, under the ids of their requests."""

import asyncio
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import EngineUnavailable, UnknownTrace
from service.redis_allowance import allowance
from service.redis_link import RedisLink
from service.settings import RedisSettings

MAX_BYTES = 8_000_000
"""Of one trace, compressed; a larger one is given to its client and not kept."""

FORMAT = b"mull-trace/1\n"
"""How a kept trace begins. What begins otherwise, or cannot be read, is no trace."""

_PATIENCE_S = 2.0
"""Who asks for a trace wants nothing else: waiting for it is no penalty."""

Records = Sequence[Mapping[str, Any]]


class TraceStore:
    """Keeps the traces of one gateway's searches for `redis.trace_ttl_s` seconds."""

    def __init__(self, settings: RedisSettings, link: RedisLink) -> None:
        """`link` leads to where they are kept; without one nothing is."""
        self._link = link
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
        with allowance(_PATIENCE_S):
            answered, value = await self._link.ask(lambda redis: redis.get(_key(trace_id, caller)))
        if not answered:
            raise EngineUnavailable("Redis, where traces are kept, does not answer.", hint="Try again in a moment.")
        records = await asyncio.to_thread(_unpacked, value)
        if records is None:
            raise UnknownTrace(
                f"There is no trace {trace_id!r}.",
                hint=f'Searches with {{"mull": {{"include": ["trace"]}}}} leave one, for {self._ttl_s} s.',
                param="id",
            )
        return records


def _key(trace_id: str, caller: str | None) -> str:
    """Clients choose ids, and may write anything into them: none is seen in Redis, or found by another key's client."""
    whole = json.dumps([caller, trace_id])
    return "mull:trace:" + hashlib.sha256(whole.encode()).hexdigest()


def _packed(records: Records) -> bytes:
    return FORMAT + zlib.compress(json.dumps(list(records), ensure_ascii=False).encode(), level=1)


def _unpacked(value: Any) -> list[dict[str, Any]] | None:
    """Return the trace that `_packed` made into `value`; `None` where it has made none, or in another version."""
    if not isinstance(value, bytes) or not value.startswith(FORMAT):
        return None
    try:
        records = json.loads(zlib.decompress(value.removeprefix(FORMAT)))
    except (zlib.error, ValueError):
        return None
    return records if isinstance(records, list) else None

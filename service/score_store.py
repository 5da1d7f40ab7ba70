"""Scores kept in Redis, beyond the worker that asked for them."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

from redis.asyncio import Redis

from service.redis_link import RedisLink
from service.search.memo import Key


class RedisScores:
    """Implements `memo.ScoreStore`: scores under `namespace`, for `ttl_s` seconds each.

    A look-up is one round trip. What is written waits for no reply, and what is put meanwhile goes with the next write.
    """

    def __init__(self, link: RedisLink, namespace: str, ttl_s: int) -> None:
        self._link = link
        self._prefix = f"mull:score:{namespace}:"
        self._ttl_s = ttl_s
        self._unwritten: dict[Key, float] = {}
        self._writing: asyncio.Task[None] | None = None

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        """Return those of the scores that Redis knows and tells in time."""
        names = [self._name(key) for key in keys]
        answered, values = await self._link.ask(lambda redis: redis.mget(names))
        if not answered:
            return {}
        return {key: score for key, value in zip(keys, values, strict=True) if (score := _score(value)) is not None}

    def put(self, scores: Mapping[Key, float]) -> None:
        """Begin to write `scores`; they are lost where Redis does not answer."""
        self._unwritten |= scores
        if self._writing is None:
            # Not on the time of the request that happened to bring them.
            self._writing = asyncio.create_task(self._write(), context=contextvars.Context())

    async def _write(self) -> None:
        try:
            while scores := self._unwritten:
                self._unwritten = {}
                await self._link.ask(partial(self._set, scores))
        finally:
            self._writing = None

    async def _set(self, scores: Mapping[Key, float], redis: Redis) -> None:
        async with redis.pipeline(transaction=False) as pipeline:
            for key, score in scores.items():
                pipeline.set(self._name(key), repr(score), ex=self._ttl_s)
            await pipeline.execute()

    def _name(self, key: Key) -> str:
        return self._prefix + key.hex()


def _score(value: Any) -> float | None:
    """Return the score that `_set` wrote as `value`; `None` for anything else."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        return None
    written = isfinite(score) and 0.0 <= score <= 1.0 and repr(score).encode() == value
    return score if written else None

"""What each key has used, counted in Redis: several gateways share one count, and Redis' clock.

Everything about one request is one script, so that two gateways never both take the last place. What reaches Redis when
its gateway has given up waiting takes nothing: that gateway has counted by itself.
"""

import time
from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis

from service.doors.counts import DAY_S, LONGEST_LEFT_S, MINUTE_S, Claim, Refusal, Standing
from service.doors.keys import Key
from service.redis_link import RedisLink

_TAKE = f"""
local base, ticket, wanted, lease_ms = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most_requests, most_searches, most_tokens = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local latest_ms = tonumber(ARGV[7])
local time = redis.call('TIME')
local now, now_ms = tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local day = math.floor(now / {DAY_S})
if latest_ms > 0 and now_ms > latest_ms then return {{'late', 0, 0, 0, day, now_ms}} end
local by_minute = base .. ':requests:' .. math.floor(now / {MINUTE_S})
local by_day, flying = base .. ':tokens:' .. day, base .. ':searches'
redis.call('ZREMRANGEBYSCORE', flying, '-inf', now_ms)
local requests = tonumber(redis.call('GET', by_minute) or '0')
local tokens = tonumber(redis.call('GET', by_day) or '0')
local searches = redis.call('ZCARD', flying)
local refused = ''
if most_requests >= 0 and requests >= most_requests then refused = 'requests'
elseif most_searches >= 0 and searches >= most_searches then refused = 'searches'
elseif most_tokens >= 0 and tokens + wanted > most_tokens then refused = 'tokens'
else
  requests = redis.call('INCR', by_minute)
  redis.call('EXPIRE', by_minute, {2 * MINUTE_S})
  tokens = redis.call('INCRBY', by_day, wanted)
  redis.call('EXPIRE', by_day, {2 * DAY_S})
  redis.call('ZADD', flying, now_ms + lease_ms, ticket)
  local last = redis.call('ZRANGE', flying, -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', flying, last[2])
  searches = searches + 1
end
return {{refused, requests, tokens, searches, day, now_ms}}
"""

_GIVE_BACK = """
local base, ticket, day, unspent = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local by_day = base .. ':tokens:' .. day
redis.call('ZREM', base .. ':searches', ticket)
if redis.call('EXISTS', by_day) == 1 then redis.call('DECRBY', by_day, unspent) end
return 1
"""


class SharedCounts:
    """`Counts` in a Redis-protocol server. A place is a lease: one that its gateway never gives back runs out."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._ahead_ms: float | None = None
        """By how much Redis' clock was ahead of ours when it was last told."""

    async def take(self, key: Key, ticket: str, tokens: int, deadline_s: float) -> Standing | None:
        """Take a place and `tokens` for a request that will end within `deadline_s`; `None` where Redis is silent."""
        quota = key.quota
        limits = (quota.requests_per_minute, quota.searches, quota.tokens_per_day)
        lease_ms = int((deadline_s + LONGEST_LEFT_S) * 1000)
        arguments = [ticket, tokens, lease_ms, *(-1 if limit is None else limit for limit in limits)]

        def run(redis: Redis) -> Awaitable[Any]:
            return _run(redis, _TAKE, key.name, [*arguments, self._latest_ms()])

        answered, told = await self._link.ask(run)
        if not answered:
            return None
        refused, requests, used, searches, day, now_ms = told
        self._ahead_ms = now_ms - time.time() * 1000
        if refused == b"late":
            return None
        why: dict[bytes, Refusal] = {b"requests": "requests", b"tokens": "tokens", b"searches": "searches"}
        claim = None if refused else Claim(key.name, ticket, tokens, day)
        return Standing(requests, used, searches, now_ms / 1000, why.get(refused), claim)

    def _latest_ms(self) -> int:
        """Return when, by Redis' clock, nobody waits for what is sent now any more; 0 where its clock is not known."""
        if self._ahead_ms is None:
            return 0
        return int((time.time() + self._link.patience_s) * 1000 + self._ahead_ms)

    async def give_back(self, claim: Claim, spent: int) -> None:
        """Give back the place, and what was set aside and not spent; where Redis is silent, the place runs out."""
        arguments = [claim.ticket, claim.day, claim.tokens - spent]
        await self._link.ask(lambda redis: _run(redis, _GIVE_BACK, claim.key, arguments))


async def _run(redis: Redis, script: str, name: str, arguments: list[Any]) -> Any:
    # One hash slot for all that is counted of one key, as clusters want it.
    return await redis.register_script(script)(keys=[f"mull:door:{{{name}}}"], args=arguments)

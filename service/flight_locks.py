"""Who makes a search that several gateways want, by a lock in Redis, and what it came to, told to all that wait for it.

A lock holds its holder's token for a lease, which the holder renews. What a flight came to is kept for a moment under
that token, so that only those get it who waited for it: who comes later finds a new lock. All of a process's flights
share one subscription, one task that listens and looks, and one that renews.
"""

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import Collection, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from service.redis_link import RedisLink

CHANNEL = "mull:flights"
"""Where the tokens of flights that are over are told."""

LEASE_S = 3.0
LOOK_S = 0.5
"""How often those that wait look for themselves: what is told may be lost, and a holder may be gone."""

_KEPT_MS = 10_000
_NOTHING = b""
_CLOSING_S = 2.0

_RENEW = """
for i, lock in ipairs(KEYS) do
  if redis.call('GET', lock) == ARGV[i + 1] then redis.call('PEXPIRE', lock, ARGV[1]) end
end
"""

_RELEASE = """
local lock, value, token = KEYS[1], KEYS[2], ARGV[1]
if ARGV[2] ~= '' then redis.pcall('SET', value, ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', lock) == token then redis.call('DEL', lock) end
redis.call('PUBLISH', ARGV[4], token)
"""
"""A server that is full keeps no value, and frees the lock all the same."""

T = TypeVar("T")

News = bytes | Literal["free", "lost"]
"""What becomes of waiting: a value; the lock is `free` and there is none; Redis does not answer, and all is `lost`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lock and whose it is."""

    lock: str
    token: str
    mine: bool

    @property
    def value(self) -> str:
        """The name under which it is told what the flight came to."""
        return f"mull:flown:{self.token}"


class FlightLocks:
    """The locks of one process. Nothing is raised: where Redis does not answer there are no locks."""

    def __init__(self, link: RedisLink, *, lease_s: float = LEASE_S, look_s: float = LOOK_S) -> None:
        self._link = link
        self._lease_s = lease_s
        self._look_s = look_s
        self._held: dict[str, Claim] = {}
        self._awaited: dict[str, tuple[Claim, asyncio.Future[News]]] = {}
        self._listening = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._apart: set[asyncio.Task[Any]] = set()

    async def claim(self, key: str) -> Claim | None:
        """Take the lock of `key`, or say who has it; `None` where Redis does not answer. What is taken is renewed."""
        if self._link.state == "off":
            return None
        lock, token = f"mull:flight:{key}", secrets.token_hex(16)
        if (releasing := self._releasing.get(lock)) is not None:
            # Ours, and over: who comes now is not one of those who waited.
            await asyncio.wait({releasing})
        lease_ms = round(self._lease_s * 1000)
        answered, holder = False, None
        try:
            answered, holder = await self._link.ask(
                lambda redis: redis.set(lock, token, nx=True, px=lease_ms, get=True)
            )
        finally:
            if not answered:
                # It may be done all the same.
                self._give_back(Claim(lock, token, mine=True), _NOTHING)
        if not answered:
            return None
        if holder is not None:
            return Claim(lock, _text(holder), mine=False)
        claim = self._held[token] = Claim(lock, token, mine=True)
        if self._renewing is None:
            self._renewing = self._start(self._renew())
        return claim

    def release(self, claim: Claim, value: bytes = _NOTHING) -> None:
        """Begin to give a lock back, and tell those that wait: `value`, or that one of them may have the lock."""
        del self._held[claim.token]
        self._give_back(claim, value)
        if not self._held and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def news(self, claim: Claim) -> News:
        """Wait for what becomes of another's flight: at the longest for its lease and one look after it is lost."""
        future: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        entry = self._awaited[claim.token] = claim, future
        if self._watching is None:
            self._watching = self._start(self._watch())
        try:
            # Looked for once more when what is told is listened to: it may have been told before.
            await self._listening.wait()
            await self._start(self._look([claim.token]))
            return await future
        finally:
            # Who comes next may wait for the same already.
            if self._awaited.get(claim.token) is entry:
                del self._awaited[claim.token]
            if not self._awaited and self._watching is not None:
                self._watching.cancel()
                self._watching = None
                self._listening.clear()

    async def aclose(self) -> None:
        """Give all locks back, and wait for what is still on its way, when nobody waits any more."""
        for claim in list(self._held.values()):
            self.release(claim)
        if self._apart:
            await asyncio.wait(self._apart, timeout=_CLOSING_S)

    def _give_back(self, claim: Claim, value: bytes) -> None:
        arguments = [claim.token, value, _KEPT_MS, CHANNEL]
        task = self._releasing[claim.lock] = self._start(self._run(_RELEASE, [claim.lock, claim.value], arguments))
        task.add_done_callback(functools.partial(self._released, claim.lock))

    def _released(self, lock: str, task: asyncio.Task[None]) -> None:
        if self._releasing.get(lock) is task:
            del self._releasing[lock]

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do what is no request's own work: it uses up nobody's patience with Redis."""
        task = asyncio.create_task(work, context=Context())
        self._apart.add(task)
        task.add_done_callback(self._apart.discard)
        return task

    async def _run(self, script: str, keys: list[str], arguments: list[Any]) -> None:
        await self._link.ask(lambda redis: redis.register_script(script)(keys=keys, args=arguments))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            held = list(self._held.values())
            tokens = [claim.token for claim in held]
            await self._run(_RENEW, [claim.lock for claim in held], [round(self._lease_s * 1000), *tokens])

    async def _watch(self) -> None:
        """Listen for as long as anybody waits, and look every `look_s` seconds in any case."""
        while True:
            told = await self._subscribed()
            self._listening.set()
            if told is not None:
                with contextlib.suppress(RedisError, OSError):
                    async with contextlib.aclosing(told):
                        await self._listen(told)
            # Either Redis is gone, which the look will find, or only the subscription is.
            await self._look(self._awaited)
            await asyncio.sleep(self._look_s)

    async def _subscribed(self) -> PubSub | None:
        answered = given_up = False

        async def subscribe(redis: Redis) -> PubSub:
            told = redis.pubsub(ignore_subscribe_messages=True)
            try:
                await told.subscribe(CHANNEL)
            except BaseException:
                await told.aclose()  # type: ignore[no-untyped-call]
                raise
            if given_up:
                await told.aclose()  # type: ignore[no-untyped-call]
            return told

        try:
            answered, told = await self._link.ask(subscribe)
        finally:
            given_up = not answered
        return told if answered else None

    async def _listen(self, told: PubSub) -> None:
        """Look where something was told of, and everywhere from time to time. Raises what a lost connection raises."""
        due = time.monotonic() + self._look_s
        while True:
            message = await told.get_message(timeout=max(0.0, due - time.monotonic()))
            if message is not None and (token := _text(message["data"])) in self._awaited:
                await self._look([token])
            elif time.monotonic() >= due:
                due = time.monotonic() + self._look_s
                await self._look(self._awaited)

    async def _look(self, tokens: Collection[str]) -> None:
        waiting = [self._awaited[token] for token in tokens if token in self._awaited]
        names = [name for claim, _ in waiting for name in (claim.value, claim.lock)]
        if not names:
            return
        answered, found = await self._link.ask(lambda redis: redis.mget(names))
        for place, (claim, future) in enumerate(waiting):
            if future.done():
                continue
            if not answered:
                future.set_result("lost")
                continue
            value, holder = found[2 * place : 2 * place + 2]
            if value is not None:
                future.set_result(value)
            elif holder != claim.token.encode():
                future.set_result("free")


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")

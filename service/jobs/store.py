"""Jobs in Redis. Unlike the caches it is needed: what it does not answer for is an error, never a job forgotten."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import JobsUnavailable, Overloaded
from service.jobs import scripts
from service.redis_client import redis_client
from service.settings import JobSettings, Settings

Ended = Literal["completed", "incomplete", "failed", "cancelled"]
Status = Literal["queued", "in_progress"] | Ended
ENDED: frozenset[str] = frozenset({"completed", "incomplete", "failed", "cancelled"})

MOST_EVENTS = 10_000
"""Events kept of one job while it runs; its end is told in any case."""

_CONNECTIONS = 32
_PATIENCE_S = 2.0
_TURN_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One job as it stands: `reply` is the JSON text that its maker or its runner last wrote."""

    status: Status
    reply: str
    owner: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that its holder is to do: `attempt` 1 is the first. `format`: how it is kept, see `scripts.FORMAT`."""

    id: str
    token: str
    ask: str
    reply: str
    owner: str
    attempt: int
    format: str = scripts.FORMAT


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job came to: its status, the reply, and the last events, all JSON texts."""

    status: Ended
    reply: str
    events: tuple[str, ...]


class JobStore:
    """Jobs of all gateways that share one Redis-protocol server.

    Every method raises `JobsUnavailable` where there is none, or where it does not answer in time (two seconds).
    Events are numbered from 0 in the order in which they were written.
    """

    def __init__(self, settings: Settings) -> None:
        """`settings.redis.url` missing or `enabled: false` makes a store that is always unavailable."""
        self._redis = redis_client(settings.redis, text=True)
        self._settings: JobSettings = settings.jobs
        self._turns = asyncio.Semaphore(_CONNECTIONS)

    @property
    def on(self) -> bool:
        """Whether there is a Redis to ask."""
        return self._redis is not None

    async def create(self, id: str, ask: str, reply: str, owner: str, events: Sequence[str]) -> None:
        """Keep a new job, to be done by whoever comes first; raises `Overloaded` where too many are not over yet."""
        keys = [scripts.DUE, *_keys(id)]
        made = await self._run(scripts.CREATE, keys, [id, self._settings.unfinished, ask, reply, owner, *events])
        if not made:
            raise Overloaded(
                f"{self._settings.unfinished} jobs are waiting or running already.",
                hint="Come back in a moment, or raise jobs.unfinished.",
            )

    async def get(self, id: str) -> Record | None:
        """Return a job as it stands; `None` where there is none of that name, or none any more."""
        kept = await self._ask(lambda redis: redis.hmget(_keys(id)[0], ["status", "reply", "owner"]))
        status, reply, owner = cast(tuple[str | None, ...], tuple(kept))
        if status is None or reply is None:
            return None
        return Record(cast(Status, status), reply, owner or "")

    async def events(self, id: str, first: int) -> tuple[list[str], bool]:
        """Return the events from number `first` on, and whether they are the last ones: the job is over, or gone."""
        job, events = _keys(id)

        def read(redis: Redis) -> Awaitable[list[Any]]:
            pipeline = redis.pipeline(transaction=True)
            pipeline.hget(job, "status")
            pipeline.lrange(events, first, -1)
            return pipeline.execute()

        status, found = await self._ask(read)
        return found, status is None or status in ENDED

    async def count(self) -> tuple[int, int]:
        """Return how many jobs wait to be taken up, and how many are being done."""
        waiting, doing = await self._run(scripts.COUNT, [scripts.DUE], [])
        return int(waiting), int(doing)

    async def take(self) -> Lease | None:
        """Take up the job that has been due for longest, if any is."""
        token = secrets.token_hex(16)
        found = await self._run(scripts.TAKE, [scripts.DUE], [token, self._settings.lease_s])
        if not found:
            return None
        id, ask, reply, owner, format, attempt = found
        return Lease(id, token, ask or "", reply or "", owner or "", int(attempt), format)

    async def renew(self, leases: Sequence[Lease]) -> set[str]:
        """Hold leases for longer; return the names of the jobs that are this holder's no more."""
        pairs = [text for lease in leases for text in (lease.id, lease.token)]
        return set(await self._run(scripts.RENEW, [scripts.DUE], [self._settings.lease_s, *pairs]))

    async def release(self, lease: Lease, *, after_s: float = 0, counted: bool = False) -> None:
        """Give a job back undone, to be taken up after some seconds; `counted` says whether this was an attempt."""
        arguments = [lease.id, lease.token, after_s, 0 if counted else 1]
        await self._run(scripts.RELEASE, [scripts.DUE, _keys(lease.id)[0]], arguments)

    async def note(self, lease: Lease, events: Sequence[str]) -> bool:
        """Add events to a job; return whether they were kept: not of a lease that is lost, nor too many of them."""
        return bool(await self._run(scripts.NOTE, _keys(lease.id), [lease.token, MOST_EVENTS, *events]))

    async def finish(self, lease: Lease, ending: Ending) -> bool:
        """Write what a job came to; return whether that was still this holder's to say."""
        return bool(await self._end(scripts.FINISH, lease.id, lease.token, ending))

    async def cancel(self, id: str, ending: Ending) -> bool:
        """End a job whoever has it; return whether it had not been over."""
        return bool(await self._end(scripts.CANCEL, id, "", ending))

    async def delete(self, id: str) -> bool:
        """Forget a job and stop it; return whether there was one."""

        def forget(redis: Redis) -> Awaitable[list[Any]]:
            pipeline = redis.pipeline(transaction=True)
            pipeline.zrem(scripts.DUE, id)
            pipeline.delete(*_keys(id))
            return pipeline.execute()

        return bool((await self._ask(forget))[1])

    async def aclose(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _end(self, script: str, id: str, token: str, ending: Ending) -> int:
        arguments = [id, token, ending.status, ending.reply, self._settings.ttl_s, *ending.events]
        return int(await self._run(script, [scripts.DUE, *_keys(id)], arguments))

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._ask(lambda redis: redis.register_script(script)(keys=keys, args=arguments))

    async def _ask(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the answer to one command. Its clock starts with its turn, and what came while we were busy counts."""
        if self._redis is None:
            raise JobsUnavailable(
                "There is no Redis to keep jobs in.", hint="Ask without `background`, or configure redis.url."
            )
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
            try:
                return await self._answer(command(self._redis))
            finally:
                self._turns.release()
        except (RedisError, OSError, TimeoutError) as error:
            raise JobsUnavailable(
                f"Redis, where jobs are kept, does not answer ({type(error).__name__}).", hint="Try again in a moment."
            ) from None

    async def _answer(self, command: Awaitable[T]) -> T:
        asking = asyncio.ensure_future(command)
        try:
            await asyncio.wait({asking}, timeout=_PATIENCE_S)
            if not asking.done():
                raise TimeoutError
            return asking.result()
        finally:
            asking.cancel()


def _keys(id: str) -> list[str]:
    return [f"{scripts.PREFIX}{id}", f"{scripts.PREFIX}{id}:events"]

"""The way to Redis: a help, never a need.

Every command is bounded in time and tried once, and a failure means that the request goes on without it. All that a
request asks is bounded together (`service/redis_allowance.py`), and a server that does not answer is left alone until
it does (`service/redis_breaker.py`).
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, cast, get_args

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, RedisError, ResponseError

from service.redis_allowance import WORKER_SHARE, Allowance, current_allowance, idle_s
from service.redis_breaker import Breaker
from service.redis_client import redis_client
from service.settings import RedisSettings

CONNECTIONS = 16

Unanswered = Literal["down", "spent", "timeout", "lost", "refused"]
"""Why a command got no answer: Redis is left alone; the request has waited long enough; Redis took too long, broke the
connection, or answered with an error (`READONLY`, `OOM`, …)."""

_FAIR_SHARE = 0.5
"""Of an allowance: a command that was waited for as long, in vain, tells that Redis does not answer."""

_BUSY = 4
"""By how much longer than its time a command is waited for where this process is too busy to look."""

_LINGER_S = 1.0
"""How long a command that was sent goes on when nobody waits for it any more: the connection that is being made for it
gets made, and what it is to write is written."""

_REFUSALS_APART_S = 60.0
"""A kind of refusal is told of again when it has not been seen for so long."""

_CODE = re.compile(r"(?:^|caused error: \(')([A-Z]{2,})\b")
_CLOSING_S = 1.0
_log = logging.getLogger("mull.redis")


class RedisLink:
    """The connections of one process to a Redis-protocol server."""

    def __init__(self, settings: RedisSettings) -> None:
        """`settings.url` missing or `enabled: false` makes a link that is always off."""
        self._redis = redis_client(settings)
        self._timeout_s = settings.timeout_ms / 1000
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._breaker = Breaker(self._ping)
        self._asking: set[asyncio.Future[Any]] = set()
        self._refused: dict[str, float] = {}
        self.unanswered: Counter[Unanswered] = Counter(dict.fromkeys(get_args(Unanswered), 0))

    @property
    def state(self) -> Literal["on", "off", "down"]:
        """`off`: not configured; `down`: Redis has not answered several times in a row."""
        if self._redis is None:
            return "off"
        return "down" if self._breaker.open else "on"

    @property
    def patience_s(self) -> float:
        """How long a command that is sent now is waited for."""
        allowance = current_allowance()
        return self._timeout_s if allowance is None else allowance.left

    async def ask(self, command: Callable[[Redis], Awaitable[Any]]) -> tuple[bool, Any]:
        """Return whether Redis answered one command in time, and what it answered.

        In time is within the allowance of the request that is being served, where one is, else within
        `redis.timeout_ms`. A command that is given up may be done all the same.
        """
        if self._redis is None:
            return False, None
        if self._breaker.open:
            return self._no("down")
        allowance = current_allowance() or Allowance(self._timeout_s)
        if allowance.left <= allowance.prompt_s:
            return self._no("spent")
        turn = _Turn()
        asking = self._begin(self._ask(self._redis, command, turn))
        try:
            await _wait(asking, allowance)
            if not asking.done():
                return self._late(turn, allowance)
            if asking.cancelled():  # the link was closed meanwhile
                return self._no("lost")
            value = asking.result()
        except ResponseError as error:
            self._note_refusal(error)
            return self._no("refused")
        except DataError:
            raise  # a mistake of ours, not of Redis
        except (RedisError, OSError) as error:
            # The texts of other errors may quote what was sent or stored.
            about = f": {error}" if isinstance(error, RedisConnectionError) else ""
            self._breaker.failed(f"{type(error).__name__}{about}", turn.failures)
            return self._no("lost")
        except _LeftAlone:
            return self._no("down")
        finally:
            if turn.since is None:
                asking.cancel()
            elif not asking.done():
                asyncio.get_running_loop().call_later(_LINGER_S, asking.cancel)
        self._breaker.answered()
        return True, value

    async def aclose(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._breaker.aclose()
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        if self._redis is not None:
            # A TLS connection to a server that hangs would take its time to say good-bye.
            with suppress(TimeoutError, RedisError, OSError):
                async with asyncio.timeout(_CLOSING_S):
                    await self._redis.aclose()

    async def _ask(self, redis: Redis, command: Callable[[Redis], Awaitable[Any]], turn: "_Turn") -> Any:
        async with self._turns:
            if self._breaker.open:
                raise _LeftAlone
            turn.since, turn.failures = idle_s(), self._breaker.failures
            return await command(redis)

    async def _ping(self) -> bool:
        """Ask Redis for a sign of life, which is one if it comes as soon as the least patient request wants it."""
        assert self._redis is not None
        asking = self._begin(cast(Awaitable[Any], self._redis.ping()))
        try:
            await _wait(asking, Allowance(WORKER_SHARE * self._timeout_s))
            if asking.done():
                asking.result()
            return asking.done()
        except ResponseError:
            return True
        except (RedisError, OSError):
            return False
        finally:
            asyncio.get_running_loop().call_later(_LINGER_S, asking.cancel)

    def _begin(self, command: Awaitable[Any]) -> "asyncio.Future[Any]":
        asking = asyncio.ensure_future(command)
        self._asking.add(asking)
        asking.add_done_callback(self._asked)
        return asking

    def _asked(self, asking: "asyncio.Future[Any]") -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # of a command that was given up, nobody else takes it

    def _late(self, turn: "_Turn", allowance: Allowance) -> tuple[bool, Any]:
        if turn.since is None or idle_s() - turn.since < _FAIR_SHARE * allowance.seconds:
            return self._no("spent")
        self._breaker.failed("it takes too long", turn.failures)
        return self._no("timeout")

    def _no(self, why: Unanswered) -> tuple[bool, Any]:
        self.unanswered[why] += 1
        return False, None

    def _note_refusal(self, error: ResponseError) -> None:
        """A refusal is an answer, and what Redis still does goes on; that it refuses is said once."""
        self._breaker.answered()
        kind, now = _kind(error), time.monotonic()
        if now - self._refused.get(kind, -_REFUSALS_APART_S) >= _REFUSALS_APART_S:
            _log.warning("Redis refuses commands (%s)", kind)
        self._refused[kind] = now


class _LeftAlone(Exception):
    """Redis was found not to answer while a command waited for its turn."""


class _Turn:
    """When, by `idle_s`, a command was sent, and after how many failures; `None` while it waits for a connection."""

    since: float | None = None
    failures: int = 0


def _kind(error: ResponseError) -> str:
    """Return the code of an error, `OOM` or the like. Its text may quote what was sent."""
    found = _CODE.search(str(error))
    return error.status_code or (found[1] if found else "ERR")


async def _wait(asking: "asyncio.Future[Any]", allowance: Allowance) -> None:
    """Wait until a command is done or late, and then for what is left of the allowance."""
    asked = idle_s()
    latest = time.monotonic() + _BUSY * allowance.left
    while not asking.done() and (left := asked + allowance.prompt_s - idle_s()) > 0:
        await asyncio.wait({asking}, timeout=left)
    if asking.done():
        return
    with allowance.late(asked):
        while not asking.done() and (left := min(allowance.left, latest - time.monotonic())) > 0:
            await asyncio.wait({asking}, timeout=left)

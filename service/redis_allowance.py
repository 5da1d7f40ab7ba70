"""How long one request may wait for Redis in all, however often it asks.

A reply that is prompt is what Redis costs when it is well. One that is late is a penalty, and the time for which any
command of a request is kept waiting for a late one comes out of the request's allowance.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

GATEWAY_SHARE = 0.6
"""Of `redis.timeout_ms`: how long a request may wait in the gateway."""

WORKER_SHARE = 0.4
"""And how long its search may wait in the worker."""

_PROMPT_SHARE = 0.1
"""Of an allowance: a reply that takes no longer is prompt."""

_current: ContextVar["Allowance | None"] = ContextVar("redis_allowance", default=None)


class Allowance:
    """So many `seconds` of waiting, shared by all tasks of one request; waits that overlap count once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.prompt_s = _PROMPT_SHARE * seconds
        self._spent = 0.0
        self._waiting = 0
        self._since = 0.0
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds for which a command may still be waited for; never negative."""
        running = idle_s() - self._since if self._waiting else 0.0
        return max(0.0, self.seconds - self._spent - running)

    @contextmanager
    def late(self, asked: float) -> Iterator[None]:
        """Within the context, wait for a reply that is late to a command of the time `asked` by `idle_s`."""
        if not self._waiting:
            # All commands become late after the same time, so the earliest is the first to come here.
            self._since = max(asked, self._until)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._until = idle_s()
                self._spent += self._until - self._since


@contextmanager
def allowance(seconds: float) -> Iterator[Allowance]:
    """Let everything within, tasks begun there included, wait for Redis for so many seconds in all.

    A task that goes on when the request has been answered is on nobody's time: give it a `contextvars.Context()` of
    its own. Outside of any allowance each command has `redis.timeout_ms`.
    """
    made = Allowance(seconds)
    token = _current.set(made)
    try:
        yield made
    finally:
        _current.reset(token)


def current_allowance() -> Allowance | None:
    """Return the allowance of the request that is being served, if one is."""
    return _current.get()


def idle_s() -> float:
    """Return a clock that stands still while this thread is at work: a busy process does not make Redis slow."""
    return time.monotonic() - time.thread_time()

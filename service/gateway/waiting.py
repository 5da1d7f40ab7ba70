"""Waiting for an answer: until its deadline, and for as long as its client is there."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from service.errors import NoAnswer

GRACE_S = 0.65
"""How much longer than the deadline the gateway waits for a worker to hand over its best answer so far.

The rest of the second that a client is promised is for the way to it, on a machine that may be busy.
"""

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed its connection before there was an answer; its search has been stopped."""


async def in_time(ask: Callable[[float], Awaitable[T]], deadline_s: float, arrived: float) -> T:
    """Return what `ask` returns, which is told how many seconds are left.

    `arrived` is the request's arrival on `time.monotonic`'s clock: the deadline counts from there. Raises `NoAnswer`.
    """
    left = max(0.0, deadline_s - (time.monotonic() - arrived))
    try:
        async with asyncio.timeout(left + GRACE_S):
            return await ask(left)
    except TimeoutError:
        raise NoAnswer(
            f"The deadline of {deadline_s:g} s passed before the workers answered.",
            hint="Raise mull.budget.deadline_ms, or ask for less.",
            param="mull.budget.deadline_ms",
        ) from None


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it and raise `ClientGone` when the client disconnects first."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass

"""The door to the workers: as many searches at once as there are tokens for, the others in a fair queue."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.doors.fair_queue import FairQueue
from service.errors import Overloaded


class Admission:
    """`FairQueue` for tasks: `bound` and `room` are its own, in tokens.

    `refused` counts those that were turned away since too much waited, and those whose turn did not come in time.
    """

    def __init__(self, bound: int, room: int) -> None:
        self.bound = bound
        self.room = room
        self.refused: dict[str, int] = {"full": 0, "late": 0}
        self._queue = FairQueue(bound, room)
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @property
    def in_flight(self) -> int:
        """Tokens of the searches that have been admitted and have not ended."""
        return self._queue.in_flight

    @property
    def waiting(self) -> int:
        """Tokens of the searches that wait."""
        return self._queue.waiting

    @asynccontextmanager
    async def turn(self, caller: str | None, price: int, left_s: float) -> AsyncIterator[float]:
        """Wait for `caller`'s turn, and hold `price` tokens for as long as the context lasts.

        Gives what is left of `left_s`. Cancelling leaves the queue. Raises `Overloaded`: at once where the queue is
        full, after `left_s` seconds where the turn has not come.
        """
        began = time.monotonic()
        ticket = next(self._numbers)
        verdict = self._queue.arrive(ticket, caller, price)
        if verdict == "refused":
            self.refused["full"] += 1
            raise Overloaded(
                "Too much is waiting to be searched already.", hint="Come back in a moment, or ask for less."
            )
        try:
            if verdict == "waiting":
                await self._called(ticket, left_s)
            yield max(0.0, left_s - (time.monotonic() - began))
        finally:
            self._waiting.pop(ticket, None)
            for admitted in self._queue.leave(ticket):
                called = self._waiting.pop(admitted)
                # One that is just being cancelled leaves by itself in a moment.
                if not called.done():
                    called.set_result(None)

    async def _called(self, ticket: int, left_s: float) -> None:
        self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(left_s):
                await self._waiting[ticket]
        except TimeoutError:
            self.refused["late"] += 1
            raise Overloaded(
                f"It was not this request's turn within its deadline ({left_s:.1f} s were left).",
                hint="Come back in a moment, or raise mull.budget.deadline_ms.",
            ) from None

"""The tasks of one request: none of them outlives it."""

import asyncio
from asyncio import Task
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BILLING_S = 0.35
"""How long after its deadline a request waits for bills at most; a gateway gives its worker 0.65 s."""


class Tasks:
    """Starts tasks, and ends all that are left at once."""

    def __init__(self) -> None:
        self._running: set[Task[Any]] = set()

    @property
    def none(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        """Start `work`."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self, deadline: float) -> None:
        """Cancel what is left, all at once, and wait until the engines have said what it has cost.

        `deadline` is on the event loop's clock. The answer is not held up for that much beyond it: being cancelled
        again, an engine's request is closed at once.
        """
        tasks = list(self._running)
        for task in tasks:
            if not task.cancelling():  # what was cancelled before is being billed already
                task.cancel()
        try:
            if tasks:
                left = deadline - asyncio.get_running_loop().time()
                await asyncio.wait(tasks, timeout=max(0.0, left) + BILLING_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it; asyncio need not log it again

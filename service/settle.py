"""Several requests that belong together."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def settled(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what `works` return, in their order, once all have ended.

    If one fails the others are cancelled, and its exception is raised. Cancelling this cancels all of them, again each
    time: `asyncio.TaskGroup` would hear only the first.
    """
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.create_task(work) for work in works]
    cancelled: asyncio.CancelledError | None = None
    while running := {task for task in tasks if not task.done()}:
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError as cause:
            cancelled = cause
        for task in running:
            task.cancel()
    failures = [task.exception() for task in tasks if not task.cancelled()]
    if cancelled is not None:
        raise cancelled
    for failure in failures:
        if failure is not None:
            raise failure
    return [task.result() for task in tasks]

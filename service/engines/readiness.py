"""An engine is ready when one of its servers is."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from service.errors import MullError

OTHERS_WITHIN_S = 1.0
"""How long the others are waited for once one is ready."""


async def any_ready(works: Sequence[Coroutine[Any, Any, None]]) -> tuple[str, ...]:
    """Try every server at once; return what is wrong with those that fail, or say nothing yet, beside one that works.

    Raises what the first of them raised, with what the others said, where all fail.
    """
    if len(works) == 1:
        await works[0]
        return ()
    tasks = [asyncio.create_task(work) for work in works]
    try:
        waiting, one_works = set(tasks), False
        while waiting and not one_works:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            one_works = any(task.exception() is None for task in done)
        if waiting:
            await asyncio.wait(waiting, timeout=OTHERS_WITHIN_S)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, MullError)]
    silent = sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, MullError):
            raise outcome
    messages = (*(failure.message for failure in failures), *["A server says nothing."] * silent)
    if not one_works:
        raise type(failures[0])(" ".join(messages), hint=failures[0].hint)
    return messages

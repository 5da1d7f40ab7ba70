"""What all readings have in common: a request with its token ids, and how it is sent and given up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from reward_models.protocol import Answer, Request
from service.engines.abort import new_request_id
from service.engines.fleet import Fleet
from service.search.ports import Bill, Place

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """A request whose texts are token ids.

    `prompt` are the tokens to read, `labels` those whose log-probabilities are wanted, `tags` the places in `prompt` at
    which a score is read, `generated` is the most that the engine writes, and `place` is where it stands among others.
    """

    request: Request
    prompt: tuple[int, ...]
    labels: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()
    generated: int = 0
    place: Place | None = None


Reading = Callable[[Fleet, Ready, Bill], Awaitable[Answer]]
"""Puts one request to the engine and fills in its bill; raises `EngineError` and its children."""


async def given_up_by_name(engine: Fleet, ask: Callable[[str], Awaitable[Json]]) -> Json:
    """Return what `ask(request_id)` returns; being cancelled aborts the request and reads what it has cost."""
    request_id = new_request_id()
    # A task of its own: when this one is cancelled, the answer to the abort can still be read.
    asking = asyncio.ensure_future(ask(request_id))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        await engine.give_up(request_id, lambda: asyncio.shield(asking))
        raise
    finally:
        if not asking.done():
            asking.cancel()
            await asyncio.wait({asking})

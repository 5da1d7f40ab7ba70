"""One request on its way: cache, workers, cache. It ends at its deadline, and when its client goes away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from service.cache import Outcome, ResultCache
from service.errors import NoAnswer
from service.gateway.plan import Plan
from service.gateway.readiness import Readiness
from service.gateway.score_ask import ScorePlan
from service.gateway.workers import Workers
from service.metrics import Metrics
from service.search.request import SearchResult
from service.search.score_request import ScoreResult
from service.settings import Settings

GRACE_S = 1.0
"""How much longer than the deadline the gateway waits for a worker to hand over its best answer so far."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the endpoints work with."""

    settings: Settings
    workers: Workers
    cache: ResultCache
    metrics: Metrics
    readiness: Readiness


class ClientGone(Exception):
    """The client closed its connection before there was an answer; its search has been stopped."""


async def answer(gateway: Gateway, plan: Plan, request: Request, arrived: float) -> tuple[SearchResult, Outcome]:
    """Return the result for `plan`, from the cache or by a search, and what the cache said.

    `arrived` is the request's arrival on `time.monotonic`'s clock: the deadline counts from there. Raises
    `ClientGone`, `NoAnswer` at the deadline, and what `Workers.search` raises.
    """
    result, outcome = await gateway.cache.get(plan.request)
    gateway.metrics.cache_requests.labels(outcome).inc()
    if result is not None:
        return result, outcome
    with gateway.metrics.searches_in_flight.track_inprogress():
        result = await _unless_gone(
            request.receive,
            _in_time(lambda left: gateway.workers.search(plan.request, left), plan.deadline_s, arrived),
        )
    gateway.metrics.searched(plan.request.strategy.name, result)
    await gateway.cache.put(plan.request, result)
    return result, outcome


async def scores(gateway: Gateway, plan: ScorePlan, request: Request, arrived: float) -> ScoreResult:
    """Return the scores that `plan` asks for. `arrived` and what is raised are those of `answer`."""
    result = await _unless_gone(
        request.receive,
        _in_time(lambda left: gateway.workers.score(plan.request, left), plan.deadline_s, arrived),
    )
    gateway.metrics.scored(result.usage)
    return result


async def _in_time(ask: Callable[[float], Awaitable[T]], deadline_s: float, arrived: float) -> T:
    """Return what `ask` returns, which is told how many seconds are left."""
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


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it and raise `ClientGone` when the client disconnects first."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

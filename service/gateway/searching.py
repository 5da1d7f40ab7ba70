"""One request on its way: doors, cache, workers, cache. It ends at its deadline, and when its client goes away."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from service.cache import Outcome, ResultCache
from service.doors.doors import Doors, Ticket
from service.errors import NoAnswer
from service.gateway.access import trace
from service.gateway.admitted import admitted
from service.gateway.pace import Pace
from service.gateway.plan import Plan
from service.gateway.readiness import Readiness
from service.gateway.score_ask import ScorePlan
from service.gateway.workers import Workers
from service.metrics import Metrics
from service.search.progress import Interest, Progress
from service.search.request import SearchResult
from service.search.score_request import ScoreResult
from service.settings import Settings
from service.trace_store import TraceStore

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
    traces: TraceStore
    doors: Doors
    pace: Pace = field(default_factory=Pace)


class ClientGone(Exception):
    """The client closed its connection before there was an answer; its search has been stopped."""


async def answer(gateway: Gateway, plan: Plan, request: Request, arrived: float) -> tuple[SearchResult, Outcome]:
    """Return the result for `plan`, from the cache or by a search, and what the cache said.

    `arrived` is the request's arrival on `time.monotonic`'s clock: the deadline counts from there. Raises
    `ClientGone`, `NoAnswer` at the deadline, and what `Doors.admit`, `Ticket.turn` and `Workers.search` raise.
    """
    async with admitted(gateway.doors, request, plan.request, plan.deadline_s) as ticket:
        result, outcome = await _remembered(gateway, plan, request)
        if result is not None:
            return result, outcome

        with gateway.metrics.searches_in_flight.track_inprogress():
            result = await _unless_gone(request.receive, _searched(gateway, plan, ticket, arrived))
        ticket.settle(result.usage)
        await _found(gateway, plan, request, result)
        return result, outcome


async def answer_told(
    gateway: Gateway, plan: Plan, interest: Interest | None, request: Request, arrived: float
) -> tuple[AsyncGenerator[Progress | SearchResult, None], Outcome]:
    """Return how the search for `plan` goes, with the result at last, and what the cache said.

    Without an `interest`, and from the cache, the result is all. The search begins when the generator is read; closing
    that, or cancelling the task that reads it, stops the search. It raises what `answer` does, but for `ClientGone`.
    """
    result, outcome = await _remembered(gateway, plan, request)
    if result is not None:
        return _only(gateway, plan, request, result), outcome
    return _watched(gateway, plan, interest, request, arrived), outcome


async def _only(
    gateway: Gateway, plan: Plan, request: Request, result: SearchResult
) -> AsyncGenerator[Progress | SearchResult, None]:
    async with admitted(gateway.doors, request, plan.request, plan.deadline_s):
        yield result


async def _watched(
    gateway: Gateway, plan: Plan, interest: Interest | None, request: Request, arrived: float
) -> AsyncGenerator[Progress | SearchResult, None]:
    async with admitted(gateway.doors, request, plan.request, plan.deadline_s) as ticket:
        with gateway.metrics.searches_in_flight.track_inprogress():
            if interest is None:
                result = await _searched(gateway, plan, ticket, arrived)
            else:
                waited = time.monotonic() - arrived
                async with (
                    ticket.turn(max(0.0, plan.deadline_s - waited)) as left,
                    aclosing(gateway.workers.watch(plan.request, left, interest)) as told,
                ):
                    while isinstance(item := await _in_time(lambda _: anext(told), plan.deadline_s, arrived), Progress):
                        yield item
                result = item
        ticket.settle(result.usage)
        await _found(gateway, plan, request, result)
        yield result


async def _searched(gateway: Gateway, plan: Plan, ticket: Ticket, arrived: float) -> SearchResult:
    """Wait for the search's turn, and make it."""

    async def search(left: float) -> SearchResult:
        async with ticket.turn(left) as still_left:
            return await gateway.workers.search(plan.request, still_left)

    return await _in_time(search, plan.deadline_s, arrived)


async def _remembered(gateway: Gateway, plan: Plan, request: Request) -> tuple[SearchResult | None, Outcome]:
    """Return the cached result for `plan`, if there is one, and what the cache said."""
    result, outcome = await gateway.cache.get(plan.request)
    gateway.metrics.cache_requests.labels(outcome).inc()
    if result is not None:
        await _keep_trace(gateway, request, result)
    return result, outcome


async def _found(gateway: Gateway, plan: Plan, request: Request, result: SearchResult) -> None:
    """Count a search that was made, and keep its result."""
    gateway.metrics.searched(plan.request.strategy.name, result)
    gateway.pace.note(plan.request, result)
    await gateway.cache.put(plan.request, result)
    await _keep_trace(gateway, request, result)


async def _keep_trace(gateway: Gateway, request: Request, result: SearchResult) -> None:
    """Keep the trace that was asked for, if one was, under the id of this request."""
    if result.trace is not None:
        noted = trace(request)
        await gateway.traces.put(noted.id, result.trace, caller=noted.caller)


async def scores(gateway: Gateway, plan: ScorePlan, request: Request, arrived: float) -> ScoreResult:
    """Return the scores that `plan` asks for. `arrived` and what is raised are those of `answer`."""
    async with admitted(gateway.doors, request, plan.request, plan.deadline_s) as ticket:

        async def score(left: float) -> ScoreResult:
            async with ticket.turn(left) as still_left:
                return await gateway.workers.score(plan.request, still_left)

        result = await _unless_gone(request.receive, _in_time(score, plan.deadline_s, arrived))
        ticket.settle(result.usage)
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

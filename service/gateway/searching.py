"""One request on its way: doors, cache, workers, cache. It ends at its deadline, and when its client goes away."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from starlette.requests import Request

from service.cache import Outcome, ResultCache
from service.doors.doors import Doors, Ticket
from service.errors import MullError
from service.flights import Flights
from service.gateway.access import trace
from service.gateway.admitted import admitted
from service.gateway.cache_control import CacheWish
from service.gateway.found import Found, Opening, Source, spent_now
from service.gateway.pace import Pace
from service.gateway.plan import Plan
from service.gateway.price import costs_by_role, scoring_cost
from service.gateway.readiness import Readiness
from service.gateway.score_ask import ScorePlan
from service.gateway.waiting import in_time, unless_gone
from service.gateway.workers import Workers
from service.metrics import Metrics
from service.search.progress import Interest, Progress
from service.search.request import SearchResult
from service.search.score_request import ScoreResult
from service.settings import Settings
from service.trace_store import TraceStore
from service.tracing.facts import Facts, asked, judged, used

if TYPE_CHECKING:
    from service.tracing.tracer import Tracing


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the endpoints work with."""

    settings: Settings
    workers: Workers
    cache: ResultCache
    flights: Flights
    metrics: Metrics
    readiness: Readiness
    traces: TraceStore
    doors: Doors
    pace: Pace = field(default_factory=Pace)
    tracing: "Tracing | None" = None


async def answer(gateway: Gateway, plan: Plan, wish: CacheWish, request: Request, arrived: float) -> Found:
    """Return what is found for `plan`: kept, by an identical request that is in flight, or by a search.

    `arrived` is the request's arrival on `time.monotonic`'s clock: the deadline counts from there. Raises
    `ClientGone`, `NoAnswer` at the deadline, and what `Doors.admit`, `Ticket.turn` and `Workers.search` raise.
    """

    async def last() -> Found:
        _, told = await answer_told(gateway, plan, wish, None, request, arrived)
        async with aclosing(told):
            async for item in told:
                if isinstance(item, Found):
                    return item
        raise MullError("The search ended without a result.")

    return await unless_gone(request.receive, last())


async def answer_told(
    gateway: Gateway, plan: Plan, wish: CacheWish, interest: Interest | None, request: Request, arrived: float
) -> tuple[Opening, AsyncGenerator[Progress | Found, None]]:
    """Return what is known before there is an answer, and how the search for `plan` goes, at last with what is found.

    What is found is all without an `interest`, and where the search is another request's. Closing the generator, or
    cancelling the task that reads it, stops the search if nobody else waits for it. Raises what `answer` does, but for
    `ClientGone`: until the request is let in at once, later in the generator.
    """
    told = _told(gateway, wish.of(plan), wish, interest, request, arrived)
    opening = cast(Opening, await anext(told))
    return opening, cast(AsyncGenerator[Progress | Found, None], told)


async def _told(
    gateway: Gateway, plan: Plan, wish: CacheWish, interest: Interest | None, request: Request, arrived: float
) -> AsyncGenerator[Opening | Progress | Found, None]:
    """Give the opening, any progress, and at last what is found."""
    _tell_span(request, lambda: asked(plan.request, plan.deadline_s))
    async with admitted(gateway.doors, request, plan.request, plan.deadline_s) as ticket:
        kept, outcome = await gateway.cache.get(plan.request, wish.max_age_s)
        counted: Outcome | Source = outcome
        progressed = False
        try:
            if kept is not None:
                found = Found(kept.result, "hit", int(kept.age_s))
                await _keep_trace(gateway, request, kept.result)
                _tell_span(request, lambda: _came_of(found))
                yield found.opening
                yield found
                return
            source: Source = "miss" if outcome == "miss" else "off"
            if wish.max_age_s is not None:
                # How old the parts are that earlier searches have left, nobody knows.
                plan = CacheWish("renew").of(plan)
            making = Making(gateway, plan, ticket, interest, arrived)
            async with gateway.flights.boarded(_flight(gateway, plan), making) as seat:
                seat.landed.add_done_callback(lambda _: making.news.set())
                yield Opening(source if await seat.leads() else "coalesced")
                while making.told or not seat.landed.done():
                    if making.told:
                        if not progressed:
                            progressed = True
                            gateway.metrics.first_progress.labels(plan.request.strategy.name).observe(
                                time.monotonic() - arrived
                            )
                        yield making.told.popleft()
                        continue
                    making.news.clear()
                    await in_time(lambda _: making.news.wait(), plan.deadline_s, arrived)
                result, own = seat.landed.result()
            if not own:
                source = counted = "coalesced"
            elif result.continued is not None:
                source = counted = "extended"
            await _keep_trace(gateway, request, result)
            found = Found(result, source)
            _tell_span(request, lambda: _came_of(found))
            yield found
        finally:
            gateway.metrics.cache_requests.labels(counted).inc()


class Making:
    """Implements `flights.Search`: one request's own search, on its own ticket."""

    def __init__(self, gateway: Gateway, plan: Plan, ticket: Ticket, interest: Interest | None, arrived: float) -> None:
        self.told: deque[Progress] = deque()
        """How the search goes, as far as nobody has read it yet: no more than one search has to tell."""
        self.news = asyncio.Event()
        self._gateway = gateway
        self._plan = plan
        self._ticket = ticket
        self._interest = interest
        self._arrived = arrived

    @property
    def began(self) -> bool:
        """Whether it has had its turn."""
        return self._ticket.began

    async def __call__(self) -> SearchResult:
        """Wait for the search's turn, make it, count it, and keep its result."""
        gateway, plan = self._gateway, self._plan
        with gateway.metrics.searches_in_flight.labels("search").track_inprogress():
            result = await in_time(self._search, plan.deadline_s, self._arrived)
        spent = spent_now(result)
        self._ticket.settle(spent)
        strategy, model = plan.request.strategy.name, plan.request.model
        gateway.metrics.searched(strategy, result, spent)
        gateway.metrics.paid(strategy, model, costs_by_role(spent, model, gateway.settings))
        if result.continued is None:
            gateway.pace.note(plan.request, result)
        await gateway.cache.put(plan.request, result)
        return result

    async def known(self) -> SearchResult | None:
        """Return what the cache has got meanwhile."""
        kept, _ = await self._gateway.cache.get(self._plan.request)
        return None if kept is None else kept.result

    async def _search(self, left_s: float) -> SearchResult:
        workers, request = self._gateway.workers, self._plan.request
        async with self._ticket.turn(left_s) as still_left:
            if self._interest is None:
                return await workers.search(request, still_left)
            async with aclosing(workers.watch(request, still_left, self._interest)) as told:
                async for item in told:
                    if not isinstance(item, Progress):
                        return item
                    self.told.append(item)
                    self.news.set()
        raise MullError("The search ended without a result.")


def _flight(gateway: Gateway, plan: Plan) -> str | None:
    """Return what identical requests have in common; `None` where nothing is to be shared."""
    request = plan.request
    if request.memory != "use":
        return None
    return f"{gateway.cache.key(request)}:{plan.deadline_s:g}:{request.budget.parallel}"


async def _keep_trace(gateway: Gateway, request: Request, result: SearchResult) -> None:
    """Keep the trace that was asked for, if one was, under the id of this request."""
    if result.trace is not None:
        noted = trace(request)
        await gateway.traces.put(noted.id, result.trace, caller=noted.caller)


def _tell_span(request: Request, facts: Callable[[], Facts]) -> None:
    """Say something in the request's span, if it has one."""
    if (span := trace(request).span) is not None:
        span.tell(facts())


def _came_of(found: Found) -> Facts:
    return {"mull.cache": found.source, "mull.stopped_by": found.result.stopped_by, **used(found.spent)}


async def scores(gateway: Gateway, plan: ScorePlan, request: Request, arrived: float) -> ScoreResult:
    """Return the scores that `plan` asks for. `arrived` and what is raised are those of `answer`."""
    _tell_span(request, lambda: asked(plan.request, plan.deadline_s))
    async with admitted(gateway.doors, request, plan.request, plan.deadline_s) as ticket:

        async def score(left: float) -> ScoreResult:
            async with ticket.turn(left) as still_left:
                return await gateway.workers.score(plan.request, still_left)

        with gateway.metrics.searches_in_flight.labels("score").track_inprogress():
            result = await unless_gone(request.receive, in_time(score, plan.deadline_s, arrived))
        ticket.settle(result.usage)
        gateway.metrics.scored("none", result.usage)
        model = plan.request.model
        cost = scoring_cost(result.usage, model, gateway.settings)
        gateway.metrics.paid("none", model, {} if cost is None else {"reward": cost})
        _tell_span(request, lambda: judged(result.usage))
        return result

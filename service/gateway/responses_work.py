"""Doing a job: the search that a stored request asks for, made by whichever gateway has taken it up."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from service.errors import InvalidApiKey, JobsUnavailable, MullError, NoAnswer, Overloaded, QuotaExceeded
from service.gateway.access import Trace
from service.gateway.cache_control import CacheWish
from service.gateway.found import Found
from service.gateway.plan import Plan
from service.gateway.reply import mull_reply
from service.gateway.responses_ask import ResponsesAsk, response_plan, responses_ask
from service.gateway.responses_events import LINE, ending, line, starting, telling, texts
from service.gateway.responses_reply import ResponseReply, answered, failed, reasoning
from service.gateway.searching import Gateway, answer_told
from service.gateway.streaming import line_of
from service.jobs.runner import Again
from service.jobs.store import Ended, Ending, JobStore, Lease
from service.search.progress import Interest, Progress
from service.tracing.carried import Headers, here

if TYPE_CHECKING:
    from service.tracing.spans import ServedSpan

MOST_ATTEMPTS = 12
"""A job that was begun so often and never ended is given up: it may be what its gateways die of."""

_SLOWER, _LONGEST_PAUSE_S = 2, 60
"""Each pause before another attempt is so much longer, up to a minute.

So a job goes on soon after what was down is back, and outlives an engine that loads a large model for eight minutes.
"""

LINE_PACE_S = 1.0
"""Shortest time between two lines about a search: each is written to Redis."""

_log = logging.getLogger("mull.jobs")


class JobAsk(BaseModel):
    """What is kept of a request: its body, what it said of memory, its id, and when it came (seconds since 1970).

    `context` says where in a trace it was, if it was traced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    body: dict[str, Any]
    wish: CacheWish = CacheWish()
    trace_id: str
    arrived: float
    context: Headers | None = None


class JobWork:
    """What a gateway's runner does with a job; see `service.jobs.runner.Work`."""

    def __init__(self, gateway: Gateway, store: JobStore) -> None:
        self._gateway = gateway
        self._store = store

    async def __call__(self, lease: Lease) -> Ending | Again:
        """Search, and tell how it goes where that was asked for."""
        begun = ResponseReply.model_validate_json(lease.reply).model_copy(update={"status": "in_progress"})
        try:
            return ended(await self._response(lease, begun))
        except JobsUnavailable:
            raise
        except (Overloaded, QuotaExceeded) as error:
            return Again(error.retry_after or 1, counted=False)
        except MullError as error:
            if error.retryable and not isinstance(error, NoAnswer) and lease.attempt < MOST_ATTEMPTS:
                pause_s = (error.retry_after or 1) * _SLOWER ** (lease.attempt - 1)
                return Again(min(pause_s, _LONGEST_PAUSE_S), counted=True)
            return ended(failed(begun, error))
        except Exception as error:
            _log.exception("job %s crashed", lease.id)
            mistake = MullError("Mull made a mistake.", hint=f"Its log has the details: {type(error).__name__}.")
            return ended(failed(begun, mistake))

    async def _response(self, lease: Lease, begun: ResponseReply) -> ResponseReply:
        if lease.attempt > MOST_ATTEMPTS:
            raise MullError(
                f"The search was begun {MOST_ATTEMPTS} times, and each time its gateway was lost.",
                hint="The gateways' logs may say why.",
            )
        settings = self._gateway.settings
        kept = JobAsk.model_validate_json(lease.ask)
        ask = responses_ask(kept.body)
        plan = response_plan(ask, settings)
        told = [json.loads(event) for event in (await self._store.events(lease.id, 0))[0]]
        types = [event["type"] for event in told]
        if "response.in_progress" not in types:
            await self._store.note(lease, texts([starting(begun)]))
        # An earlier attempt may have told of its search: what has been sent stays said.
        said = "".join(event["delta"] for event in told if event["type"] == LINE)
        lines = _Lines(self._store, lease, begun, said)
        with self._traced(kept) as span:
            request = self._request(lease.owner, kept.trace_id, span)
            found = await self._search(request, ask, plan, kept.wish, lines)
        seconds = time.time() - kept.arrived
        mull = mull_reply(found, plan, settings, trace_id=kept.trace_id, seconds=seconds)
        return answered(begun, found.result, mull, lines.text)

    async def _search(self, request: Request, ask: ResponsesAsk, plan: Plan, wish: CacheWish, lines: "_Lines") -> Found:
        strategy = plan.request.strategy
        interest = Interest(standing=True) if ask.reasoning.summary and strategy.candidates > 1 else None
        _, told = await answer_told(self._gateway, plan, wish, interest, request, time.monotonic())
        async with aclosing(told):
            async for item in told:
                if not isinstance(item, Progress):
                    return item
                if item.standing is not None:
                    await lines.tell(f"{line_of(item.standing, stepwise=strategy.stepwise)}\n")
        raise MullError("The search ended without a result.")

    @contextmanager
    def _traced(self, kept: JobAsk) -> Iterator["ServedSpan | None"]:
        """Make a span of this attempt, below the request that has made the job, where tracing is on here."""
        tracing = self._gateway.tracing
        span = None if tracing is None else tracing.job(kept.context or {})
        if span is not None:
            here.set(span.headers)
            span.tell({"mull.trace_id": kept.trace_id})
        try:
            yield span
        except Exception as failure:
            if span is not None:
                span.fail(type(failure))
            raise
        finally:
            if span is not None:
                span.end()

    def _request(self, owner: str, trace_id: str, span: "ServedSpan | None") -> Request:
        """Return a request as the gateway sees it: of the job's owner, under the id of the one that made the job."""
        key = self._gateway.doors.named(owner) if owner else None
        if owner and key is None:
            raise InvalidApiKey("The API key that made this job is not known any more.")
        noted = Trace(trace_id, "responses", caller=owner or None, span=span)
        return Request({"type": "http", "mull.key": key, "mull.headers": {}, "mull.trace": noted})


class _Lines:
    """What is told of one search, now and then, as the summary of its reasoning."""

    def __init__(self, store: JobStore, lease: Lease, response: ResponseReply, text: str) -> None:
        self.text = text
        self._store = store
        self._lease = lease
        self._item = reasoning(response, "")
        self._last = ""
        self._due = 0.0

    async def tell(self, text: str) -> None:
        """Tell that line if it is news, and not too soon."""
        if text == self._last or time.monotonic() < self._due:
            return
        self._last, self._due = text, time.monotonic() + LINE_PACE_S
        events = [] if self.text else list(telling(self._item))
        if await self._store.note(self._lease, texts([*events, line(self._item, text)])):
            self.text += text


def ended(response: ResponseReply) -> Ending:
    """Return a response that has ended as what its job came to. Raises `KeyError` for one that has not."""
    endings: dict[str, Ended] = {
        "completed": "completed",
        "incomplete": "incomplete",
        "failed": "failed",
        "cancelled": "cancelled",
    }
    return Ending(endings[response.status], response.model_dump_json(), texts(ending(response)))

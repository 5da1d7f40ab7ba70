"""/v1/responses: OpenAI's Responses API. In the background a search is a job, which outlives its request."""

import json
import re
import secrets
import time
from asyncio import sleep
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.errors import InvalidRequest, UnknownResponse
from service.gateway.access import trace
from service.gateway.admitted import admitted
from service.gateway.body import read_json
from service.gateway.cache_control import CacheWish, cache_wish
from service.gateway.plan import Plan
from service.gateway.reply import mull_reply
from service.gateway.responses_ask import ResponsesAsk, response_plan, responses_ask
from service.gateway.responses_events import opening, texts
from service.gateway.responses_reply import DeletedResponse, ResponseReply, answered, begun
from service.gateway.responses_work import JobAsk, JobWork, ended
from service.gateway.searching import Gateway, answer
from service.gateway.sse import EventStream
from service.jobs.metrics import JobsCollector
from service.jobs.runner import Runner
from service.jobs.store import ENDED, Ended, JobStore, Record
from service.tracing.carried import here

POLL_S = 0.2
"""How often a stream looks for new events."""

_Id = Annotated[str, Path(description="The `id` of a response that was made with `background: true`.")]
_ID = re.compile(r"resp_[0-9a-f]{48}")
_QUERY = ("stream", "starting_after", "include", "include[]", "include_obfuscation")


class Responses:
    """The jobs of one gateway, and their routes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store = JobStore(gateway.settings)
        work, settings = JobWork(gateway, self._store), gateway.settings.jobs
        self._runner = Runner(self._store, work, settings.at_once, ended=self._count)
        if self._store.on:
            jobs = JobsCollector(self._store)
            gateway.metrics.add(jobs, first=jobs.ask)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Do jobs for as long as the context lasts."""
        return self._runner.running()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._store.aclose()

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()

        @router.post("/v1/responses", response_model=ResponseReply)
        async def create(request: Request) -> Response:
            """Answer a question by a search; with `background: true` later, and at once with the job that does it.

            A job is done at least once, by any gateway on the same Redis, also when the first one is lost; what it came
            to is written once. With `stream: true` its events come as server-sent events.
            """
            arrived = time.monotonic()
            wish = cache_wish(request.headers)
            data = await read_json(request, self._gateway.settings.gateway)
            ask = responses_ask(data)
            plan = response_plan(ask, self._gateway.settings)
            trace(request).strategy = plan.request.strategy.name
            if not ask.background:
                return await self._answer(ask, plan, wish, request, arrived)
            response = await self._begin(data, ask, plan, wish, request)
            if ask.stream:
                return EventStream(self._events(response.id, 0), {})
            return JSONResponse(response.model_dump(mode="json"))

        @router.get("/v1/responses/{id}", response_model=ResponseReply)
        async def retrieve(request: Request, id: _Id) -> Response:
            """Return a job as it stands, or, with `stream=true`, its events: all, or those after `starting_after`."""
            stream, first = _asked(request)
            record = await self._record(id, request)
            if stream:
                return EventStream(self._events(id, first), {})
            return JSONResponse(_reply(record))

        @router.post("/v1/responses/{id}/cancel", response_model=ResponseReply)
        async def cancel(request: Request, id: _Id) -> Response:
            """Stop a job, wherever its search runs. One that has ended is returned as it is."""
            record = await self._record(id, request)
            if record.status not in ENDED:
                response = ResponseReply.model_validate_json(record.reply).model_copy(update={"status": "cancelled"})
                if await self._store.cancel(id, ended(response)):
                    self._count("cancelled")
                self._runner.stop(id)
                record = await self._record(id, request)
            return JSONResponse(_reply(record))

        @router.delete("/v1/responses/{id}", response_model=DeletedResponse)
        async def delete(request: Request, id: _Id) -> Response:
            """Forget a job; one that runs is stopped."""
            await self._record(id, request)
            await self._store.delete(id)
            self._runner.stop(id)
            return JSONResponse(DeletedResponse(id=id).model_dump(mode="json"))

        return router

    def _count(self, status: Ended) -> None:
        self._gateway.metrics.jobs_ended.labels(status).inc()

    async def _answer(
        self, ask: ResponsesAsk, plan: Plan, wish: CacheWish, request: Request, arrived: float
    ) -> Response:
        noted, settings = trace(request), self._gateway.settings
        found = await answer(self._gateway, plan, wish, request, arrived)
        noted.cache, seconds = found.source, time.monotonic() - arrived
        mull = mull_reply(found, plan, settings, trace_id=noted.id, seconds=seconds)
        response = answered(begun(ask, _new_id(), "in_progress"), found.result, mull)
        return JSONResponse(response.model_dump(mode="json"), headers=found.opening.headers)

    async def _begin(
        self, data: dict[str, Any], ask: ResponsesAsk, plan: Plan, wish: CacheWish, request: Request
    ) -> ResponseReply:
        noted = trace(request)
        # A key that has used up its quota is told so now; what the search needs is set aside when it begins.
        async with admitted(self._gateway.doors, request, plan.request, plan.deadline_s):
            pass
        response = begun(ask, _new_id(), "queued")
        kept = JobAsk(body=data, wish=wish, trace_id=noted.id, arrived=time.time(), context=here.get())
        whole = kept.model_dump_json(exclude_defaults=True), response.model_dump_json()
        await self._store.create(response.id, *whole, noted.caller or "", texts(opening(response)))
        self._runner.wake()
        return response

    async def _record(self, id: str, request: Request) -> Record:
        """Return a job of the caller's; raises `UnknownResponse`."""
        record = await self._store.get(id) if _ID.fullmatch(id) else None
        if record is None or record.owner != (trace(request).caller or ""):
            raise UnknownResponse(
                f"There is no response {id[:100]!r}.",
                hint=f"Only jobs (`background: true`) are kept, for {self._gateway.settings.jobs.ttl_s} s.",
                param="id",
            )
        return record

    async def _events(self, id: str, first: int) -> AsyncGenerator[dict[str, Any], None]:
        """Return the events of a job from number `first` on, until it has ended."""
        last = False
        while not last:
            found, last = await self._store.events(id, first)
            for number, event in enumerate(found, first):
                yield {**json.loads(event), "sequence_number": number}
            first += len(found)
            if not last:
                await sleep(POLL_S)


def _asked(request: Request) -> tuple[bool, int]:
    """Return whether events are asked for, and from which number on. Raises `InvalidRequest`."""
    query = request.query_params
    for name in query:
        if name not in _QUERY:
            known = ", ".join(_QUERY)
            raise InvalidRequest(f"There is no parameter `{name[:100]}`.", hint=f"Known: {known}.", param=name[:100])
    if query.getlist("include") or query.getlist("include[]"):
        raise InvalidRequest("`include` is not supported.", hint="Leave it out.", param="include")
    for name in ("stream", "include_obfuscation"):
        if query.get(name, "false") not in ("true", "false"):
            raise InvalidRequest(f"`{name}` is neither true nor false.", param=name)
    stream, after = query.get("stream") == "true", query.get("starting_after")
    if after is None:
        return stream, 0
    if not stream:
        raise InvalidRequest("`starting_after` is for streams.", hint="Add `stream=true`.", param="starting_after")
    if not (after.isascii() and after.isdecimal() and len(after) <= 9):
        raise InvalidRequest("`starting_after` is not the number of an event.", param="starting_after")
    return stream, int(after) + 1


def _reply(record: Record) -> dict[str, Any]:
    return {**json.loads(record.reply), "status": record.status}


def _new_id() -> str:
    """Return a name that nobody can guess."""
    return f"resp_{secrets.token_hex(24)}"

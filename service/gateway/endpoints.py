"""The endpoints."""

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.gateway.access import trace
from service.gateway.body import read_json
from service.gateway.catalogue import Catalogue, asked, catalogue
from service.gateway.failures import error_response
from service.gateway.plan import plan
from service.gateway.reply import (
    ChatCompletion,
    ErrorBody,
    MullReply,
    TextCompletion,
    chat_completion,
    mull_reply,
    text_completion,
)
from service.gateway.schema import Ask, ChatAsk, CompletionAsk
from service.gateway.score_ask import score_plan
from service.gateway.score_reply import ScoreList, score_list
from service.gateway.searching import Gateway, answer, scores
from service.search.request import SearchResult

Shape = Callable[[SearchResult, MullReply, str], ChatCompletion | TextCompletion]

_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request must change; the message says how."},
    404: {"model": ErrorBody, "description": "No such model."},
    413: {"model": ErrorBody, "description": "The body is too long."},
    415: {"model": ErrorBody, "description": "The body is not JSON."},
    502: {"model": ErrorBody, "description": "An engine answered something that cannot be used."},
    503: {"model": ErrorBody, "description": "An engine or the workers are down or full: see Retry-After."},
    504: {"model": ErrorBody, "description": "The deadline passed before there was anything to return."},
}


def endpoints(gateway: Gateway) -> APIRouter:
    """Return the routes of one gateway."""
    router = APIRouter()
    started = int(time.time())

    @router.post("/v1/chat/completions", response_model=ChatCompletion, responses=_FAILURES)
    async def chat_completions(request: Request) -> Response:
        """Answer a chat by a search. OpenAI's `chat.completion` with Mull's own object `mull` beside it.

        A repeated request is answered from the result cache (header `x-mull-cache: hit`, `mull.cached: true`);
        `usage`, `mull.usage` and `mull.cost` then say what the answer once cost.
        """
        return await _complete(gateway, request, ChatAsk, chat_completion)

    @router.post("/v1/completions", response_model=TextCompletion, responses=_FAILURES)
    async def completions(request: Request) -> Response:
        """Continue a text by a search, without a chat template; otherwise like `/v1/chat/completions`."""
        return await _complete(gateway, request, CompletionAsk, text_completion)

    @router.post("/v1/score", response_model=ScoreList, responses=_FAILURES)
    async def score(request: Request) -> Response:
        """Have the reward model judge given solutions: a score for each step, or for each whole answer.

        All of them are scored, or the request fails. What has been scored before is remembered, and not paid for again.
        """
        arrived = time.monotonic()
        settings = gateway.settings
        planned = score_plan(await read_json(request, settings.gateway.max_body_bytes), settings)
        found = await scores(gateway, planned, request, arrived)
        seconds = time.monotonic() - arrived
        body = score_list(found, planned.request, settings, trace_id=trace(request).id, seconds=seconds)
        return JSONResponse(body.model_dump(mode="json"))

    @router.get("/v1/models")
    async def models() -> Response:
        """List the models that can be asked for."""
        data = [
            {"id": name, "object": "model", "created": started, "owned_by": "mull"} for name in gateway.settings.models
        ]
        return JSONResponse({"object": "list", "data": data})

    @router.get("/v1/strategies", response_model=Catalogue, responses={400: _FAILURES[400]})
    async def strategies(request: Request) -> Response:
        """List the strategies: parameters, defaults, paper, and what a search is expected to cost.

        With `policy_tokens` or `reward_tokens` also what it costs within that budget, and which of the two runs out
        first. All of it is an estimate from assumed lengths, which `assuming` repeats.
        """
        return JSONResponse(catalogue(asked(request.query_params.multi_items())).model_dump(mode="json"))

    @router.get("/healthz")
    async def healthz() -> Response:
        """Say that this process is alive."""
        return JSONResponse({"alive": True})

    @router.get("/readyz", responses={503: {"model": ErrorBody, "description": "Names what is missing."}})
    async def readyz() -> Response:
        """Say whether an answer can be given now, after one real generation and one real score."""
        report = await gateway.readiness.report()
        if report.ready:
            cache = gateway.cache.state
            return JSONResponse({"ready": True, "cache": cache})
        return error_response(report.error)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Give Prometheus its text."""
        return Response(gateway.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _complete(gateway: Gateway, request: Request, kind: type[Ask], shape: Shape) -> Response:
    arrived = time.monotonic()
    noted = trace(request)
    settings = gateway.settings
    planned = plan(await read_json(request, settings.gateway.max_body_bytes), kind, settings)
    noted.strategy = planned.request.strategy.name
    result, outcome = await answer(gateway, planned, request, arrived)
    noted.cache = "off" if outcome == "error" else outcome
    mull = mull_reply(
        result,
        planned,
        settings,
        cached=outcome == "hit",
        trace_id=noted.id,
        seconds=time.monotonic() - arrived,
    )
    body = shape(result, mull, planned.request.model).model_dump(mode="json")
    return JSONResponse(body, headers={"x-mull-cache": noted.cache})

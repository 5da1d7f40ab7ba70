"""The endpoints."""

import time
from collections.abc import Callable

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.gateway.access import trace
from service.gateway.body import read_json
from service.gateway.cache_control import cache_wish
from service.gateway.catalogue import Catalogue, asked, catalogue
from service.gateway.chunks import ChatChunks, TextChunks
from service.gateway.dry_run import PlanReply, plan_reply
from service.gateway.failures import error_response
from service.gateway.found import Found
from service.gateway.models import ModelCard, ModelList, contexts, model_card, model_list
from service.gateway.plan import plan
from service.gateway.reply import (
    ChatCompletion,
    MullReply,
    TextCompletion,
    chat_completion,
    mull_reply,
    text_completion,
)
from service.gateway.schema import Ask, ChatAsk, CompletionAsk
from service.gateway.score_ask import score_plan
from service.gateway.score_reply import ScoreList, score_list
from service.gateway.searching import Gateway, answer, answer_told, scores
from service.gateway.sse import EventStream
from service.gateway.stream_ask import stream_ask
from service.gateway.streaming import AnswerStream
from service.gateway.workers_metrics import workers_metrics
from service.search.request import SearchResult

Shape = Callable[[SearchResult, MullReply, str], ChatCompletion | TextCompletion]


def endpoints(gateway: Gateway) -> APIRouter:
    """Return the routes of one gateway."""
    router = APIRouter()
    started = int(time.time())

    @router.post("/v1/chat/completions", response_model=ChatCompletion | PlanReply)
    async def chat_completions(request: Request) -> Response:
        """Answer a chat by a search. OpenAI's `chat.completion` with Mull's own object `mull` beside it.

        A repeated request is answered from the result cache (`x-mull-cache: hit`), one that is identical to another in
        flight by that one's search (`coalesced`). `usage`, `mull.usage` and `mull.cost` say what the answer has cost,
        `mull.spent` what of that this request has. `Cache-Control` says what of earlier requests may be used.

        With `stream: true` the answer comes as server-sent events: OpenAI's `chat.completion.chunk`s, then `[DONE]`.
        `mull.progress` says what is told of the search meanwhile; `mull` is in the last chunk. What fails after the
        first byte is told in an event `{"error": …}`, and there is no `[DONE]`.
        """
        return await _complete(gateway, request, ChatAsk, chat_completion)

    @router.post("/v1/completions", response_model=TextCompletion | PlanReply)
    async def completions(request: Request) -> Response:
        """Continue a text by a search, without a chat template; otherwise like `/v1/chat/completions`."""
        return await _complete(gateway, request, CompletionAsk, text_completion)

    @router.post("/v1/score", response_model=ScoreList)
    async def score(request: Request) -> Response:
        """Have the reward model judge given solutions: a score for each step, or for each whole answer.

        All of them are scored, or the request fails. What has been scored before is remembered, and not paid for again.
        """
        arrived = time.monotonic()
        settings = gateway.settings
        wish = cache_wish(request.headers)
        planned = wish.of_scores(score_plan(await read_json(request, settings.gateway), settings))
        found = await scores(gateway, planned, request, arrived)
        seconds = time.monotonic() - arrived
        body = score_list(found, planned.request, settings, trace_id=trace(request).id, seconds=seconds)
        return JSONResponse(body.model_dump(mode="json"))

    @router.get("/v1/models", response_model=ModelList)
    async def models() -> Response:
        """List the models that can be asked for, aliases among them, each with what stands behind it."""
        known = await contexts(gateway.workers)
        return JSONResponse(model_list(gateway.settings, known, started).model_dump(mode="json"))

    @router.get("/v1/models/{id:path}", response_model=ModelCard)
    async def model(id: str) -> Response:
        """Say what stands behind one model."""
        known = await contexts(gateway.workers)
        return JSONResponse(model_card(id, gateway.settings, known, started).model_dump(mode="json"))

    @router.get("/v1/strategies", response_model=Catalogue)
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

    @router.get("/readyz")
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
        return Response(await gateway.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/metrics/workers")
    async def metrics_of_workers() -> Response:
        """Give Prometheus what the search workers tell Ray's agent on the gateway's machine."""
        return Response(await workers_metrics(gateway.settings.ray), media_type=CONTENT_TYPE_LATEST)

    return router


async def _complete(gateway: Gateway, request: Request, kind: type[Ask], shape: Shape) -> Response:
    arrived = time.monotonic()
    noted = trace(request)
    settings = gateway.settings
    wish = cache_wish(request.headers)
    data = await read_json(request, settings.gateway)
    planned = plan(data, kind, settings)
    noted.strategy = planned.request.strategy.name
    if planned.dry:
        return JSONResponse(plan_reply(planned, settings, gateway.pace).model_dump(mode="json"))
    streamed = stream_ask(data, kind, planned.request, settings)

    def body(found: Found) -> ChatCompletion | TextCompletion:
        noted.cache, seconds = found.source, time.monotonic() - arrived
        mull = mull_reply(found, planned, settings, trace_id=noted.id, seconds=seconds)
        return shape(found.result, mull, planned.name)

    if streamed is None:
        found = await answer(gateway, planned, wish, request, arrived)
        return JSONResponse(body(found).model_dump(mode="json"), headers=found.opening.headers)
    opening, told = await answer_told(gateway, planned, wish, streamed.interest, request, arrived)
    noted.cache = opening.source
    chunks = (ChatChunks if kind is ChatAsk else TextChunks)(noted.id, planned.name, streamed.include_usage)
    stream = AnswerStream(chunks, body, stepwise=planned.request.strategy.stepwise)
    return EventStream(stream.of(told), opening.headers)

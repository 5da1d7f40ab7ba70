"""What a worker tells of its searches, on an engine of words; and how it learns where in a trace it is."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_vllm import Events, FakeVllm
from fake_workers import result, scores, settings
from kept_spans import Spans
from opentelemetry.trace import SpanKind, StatusCode

from service.gateway.workers import RayWorkers
from service.search.progress import Interest
from service.search.request import Budget, SearchRequest, WorkerReply
from service.search.score_request import ScoreReply, ScoreRequest
from service.settings import Settings
from service.tracing.carried import here
from service.worker import SearchWorker
from strategies.sample import SampleOne

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
EXACT = {"kind": "exact"}
ONE = SearchRequest.model_validate(
    {"model": "bare", "prompt": "a b", "strategy": SampleOne(), "answer": EXACT, "budget": Budget(policy_tokens=50)}
)
SCORING = ScoreRequest(model="tiny", question="1+1?", solutions=("1",))


@pytest.fixture
async def fake() -> AsyncIterator[FakeVllm]:
    """An engine that goes on from `a b`."""
    async with FakeVllm(name="some/policy").running() as engine:
        engine.writes("a b c d")
        yield engine


def configured(fake: FakeVllm) -> Settings:
    engine = {"model": "some/policy", "url": fake.url}
    return settings(policies={"p": engine}, reward_models={}, models={"bare": {"policy": "p"}})


async def test_search_is_a_span_below_its_request(spans: Spans, fake: FakeVllm) -> None:
    """With what was asked and what it has cost, by the reply's own numbers; its streams are below it."""
    reply = await SearchWorker(configured(fake)).search(ONE.model_dump(), 5.0, HEADERS)
    span, stream = spans.only("search"), spans.only("policy.stream")
    facts = dict(span.attributes or {})
    usage = reply["result"]["usage"]["policy"]
    assert span.parent is not None
    assert stream.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert (stream.context.trace_id, stream.parent.span_id) == (span.context.trace_id, span.context.span_id)
    assert span.kind is SpanKind.SERVER
    assert (facts["mull.strategy"], facts["mull.budget.policy_tokens"]) == ("sample", 50)
    assert (facts["mull.stopped_by"], facts["mull.policy.kept_tokens"]) == ("completed", usage["kept"])
    told = dict(stream.attributes or {})
    assert told["gen_ai.usage.output_tokens"] == usage["kept"] + usage["discarded"]


async def test_watched_search_is_a_span_as_well(spans: Spans, fake: FakeVllm) -> None:
    """However its result is told."""
    worker = SearchWorker(configured(fake))
    told = [item async for item in worker.watch(ONE.model_dump(), 5.0, Interest(text=True).model_dump(), HEADERS)]
    assert "result" in told[-1]
    assert f"{spans.only('search').context.trace_id:032x}" == TRACE


async def test_log_of_a_failed_search_has_the_trace(log: io.StringIO, fake: FakeVllm) -> None:
    """What it has spent is found again by the id that its client was told."""
    fake.replies["/v1/completions"] = lambda _: Events([b"nonsense"])
    await SearchWorker(configured(fake)).search(ONE.model_dump(), 5.0, HEADERS)
    line = json.loads(log.getvalue().splitlines()[-1])
    assert line["message"].startswith("a search ended without an answer")
    assert line["trace_id"] == TRACE


async def test_failed_search_has_its_class(spans: Spans, fake: FakeVllm) -> None:
    """A deadline that passes before anything is there."""
    reply = await SearchWorker(configured(fake)).search(ONE.model_dump(), 0.0, HEADERS)
    assert reply["error"]["class"] == "NoAnswer"
    span = spans.only("search")
    assert dict(span.attributes or {})["error.type"] == "NoAnswer"
    assert span.status.status_code is StatusCode.ERROR


async def test_question_that_is_too_long_is_no_failure(spans: Spans, fake: FakeVllm) -> None:
    """It is the client's to mend: the span has its class, and does not count as failed."""
    long = ONE.model_copy(update={"prompt": "word " * fake.context})
    await SearchWorker(configured(fake)).search(long.model_dump(), 5.0, HEADERS)
    span = spans.only("search")
    assert dict(span.attributes or {})["error.type"] == "QuestionTooLong"
    assert span.status.status_code is StatusCode.UNSET


async def test_nothing_of_the_question_is_told(spans: Spans, fake: FakeVllm) -> None:
    """Neither what was asked nor what was written."""
    quokka = ONE.model_copy(update={"prompt": "quokka quokka"})
    fake.writes("quokka quokka platypus")
    await SearchWorker(configured(fake)).search(quokka.model_dump(), 5.0, HEADERS)
    assert {span.name for span in spans.ended} == {"search", "policy.stream"}
    told = "".join(span.to_json() for span in spans.ended)
    assert "quokka" not in told
    assert "platypus" not in told


async def test_worker_without_tracing_takes_no_context(fake: FakeVllm) -> None:
    """It is asked as it always was, and sends its engine no header."""
    reply = await SearchWorker(configured(fake)).search(ONE.model_dump(), 5.0)
    assert reply["result"] is not None
    assert all("traceparent" not in headers for headers in fake.headers)


class Handle:
    """A Serve handle that notes what it is asked."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self._reply = reply
        self.calls: list[tuple[Any, ...]] = []
        self.search = self.score = self

    def remote(self, *arguments: Any) -> Any:
        """Answer."""
        self.calls.append(arguments)

        async def response() -> dict[str, Any]:
            return self._reply

        return response()


@pytest.mark.parametrize("headers", [None, HEADERS])
async def test_context_crosses_to_the_worker(monkeypatch: pytest.MonkeyPatch, headers: dict[str, str] | None) -> None:
    """As plain data beside the request; while tracing is off as nothing at all."""
    request = ONE.model_copy(update={"budget": Budget()})
    searching, scoring = (
        Handle(WorkerReply(result=result(request)).model_dump()),
        Handle(ScoreReply(result=scores(SCORING)).model_dump()),
    )
    monkeypatch.setattr("service.gateway.ray_link.Membership", lambda: None)
    monkeypatch.setattr("service.gateway.ray_link._join", lambda address: None)
    token = here.set(headers)
    try:
        for handle, call in ((searching, "search"), (scoring, "score")):
            monkeypatch.setattr("service.gateway.ray_link._application", lambda handle=handle: handle)
            workers = RayWorkers("127.0.0.1:1", on_gone=lambda: None)
            await getattr(workers, call)(request if call == "search" else SCORING, 5.0)
            await workers.aclose()
    finally:
        here.reset(token)
    beside = () if headers is None else (headers,)
    assert [handle.calls[0][2:] for handle in (searching, scoring)] == [beside, beside]

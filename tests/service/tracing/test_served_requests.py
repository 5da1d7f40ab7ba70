"""The span of an HTTP request: what it says, which trace it is in, and where its id is told."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings
from kept_spans import Spans
from opentelemetry.trace import SpanKind, StatusCode

from service.errors import EngineUnavailable
from service.gateway.app import create_app
from service.search.progress import Interest, Progress
from service.tracing.carried import Headers, here

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "How many quokkas?"}]}
SEARCHED = {**CHAT, "mull": {"strategy": {"name": "best_of_n", "samples": 4}, "budget": {"policy_tokens": 900}}}
NAME = "POST /v1/chat/completions"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
THEIRS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}


class Followed(FakeWorkers):
    """Workers that note where in a trace they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[Headers | None] = []

    async def _asked(self, deadline_s: float) -> None:
        self.headers.append(here.get())
        await super()._asked(deadline_s)


@pytest.fixture
def workers() -> Followed:
    """Workers that answer at once."""
    return Followed()


@pytest.fixture
async def http(spans: Spans, workers: Followed) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway on those workers, whose requests are traced."""
    transport = httpx.ASGITransport(create_app(settings(), workers), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as client:
        yield client


async def test_request_is_a_span(http: httpx.AsyncClient, spans: Spans) -> None:
    """It says what was asked, within which limits, where the answer came from, and what it has cost."""
    reply = (await http.post("/v1/chat/completions", json=SEARCHED)).json()
    span = spans.only(NAME)
    facts = dict(span.attributes or {})
    usage = reply["mull"]["usage"]
    assert (span.kind, span.parent, span.status.status_code) == (SpanKind.SERVER, None, StatusCode.UNSET)
    assert facts["http.response.status_code"] == 200
    assert (facts["mull.model"], facts["mull.strategy"], facts["mull.candidates"]) == ("tiny", "best_of_n", 4)
    assert (facts["mull.budget.policy_tokens"], facts["mull.budget.deadline_ms"]) == (900, 120_000)
    assert (facts["mull.cache"], facts["mull.stopped_by"]) == ("off", "completed")
    assert facts["mull.policy.kept_tokens"] == usage["policy"]["kept"]
    assert facts["mull.policy.discarded_tokens"] == usage["policy"]["discarded"]
    assert facts["mull.reward.submitted_tokens"] == usage["reward"]["submitted"]
    assert "mull.reward.cached_tokens" not in facts, "the engine has not told"
    assert "quokka" not in str(facts)


async def test_one_id_for_request_and_trace(http: httpx.AsyncClient, spans: Spans) -> None:
    """Where the client brings neither, the answer's trace id is the id of the trace."""
    answer = await http.post("/v1/chat/completions", json=CHAT)
    span = spans.only(NAME)
    trace_id = f"{span.context.trace_id:032x}"
    assert answer.json()["mull"]["trace_id"] == answer.headers["x-request-id"] == trace_id
    assert dict(span.attributes or {})["mull.trace_id"] == trace_id


async def test_trace_of_the_client_goes_on(http: httpx.AsyncClient, spans: Spans, workers: Followed) -> None:
    """The request has an id of its own, since a trace may hold many; the workers are told what the client has said."""
    answer = await http.post("/v1/chat/completions", json=CHAT, headers=THEIRS)
    span = spans.only(NAME)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert answer.headers["x-request-id"] not in ("", TRACE)
    assert dict(span.attributes or {})["mull.trace_id"] == answer.headers["x-request-id"]
    assert workers.headers == [{"traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01", "tracestate": "vendor=1"}]


async def test_id_of_the_client_is_kept(http: httpx.AsyncClient, spans: Spans) -> None:
    """Its span can be found by it."""
    answer = await http.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "run-7"})
    assert answer.json()["mull"]["trace_id"] == "run-7"
    assert dict(spans.only(NAME).attributes or {})["mull.trace_id"] == "run-7"


@pytest.mark.parametrize("bad", ["", "00", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01"])
async def test_broken_context_begins_a_trace(http: httpx.AsyncClient, spans: Spans, bad: str) -> None:
    """As W3C has it: it is no reason to refuse a request."""
    answer = await http.post("/v1/chat/completions", json=CHAT, headers={"traceparent": bad})
    assert answer.status_code == 200
    assert spans.only(NAME).parent is None
    assert answer.headers["x-request-id"] == f"{spans.only(NAME).context.trace_id:032x}"


async def test_log_lines_name_the_trace(http: httpx.AsyncClient, spans: Spans, log: io.StringIO) -> None:
    """Under OpenTelemetry's own names, beside the request's id."""
    await http.post("/v1/chat/completions", json=CHAT, headers={**THEIRS, "x-request-id": "run-7"})
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["request_id"], line["trace_id"]) == ("run-7", TRACE)
    assert line["span_id"] == f"{spans.only(NAME).context.span_id:016x}"


async def test_client_s_mistake_is_no_error_of_the_span(http: httpx.AsyncClient, spans: Spans) -> None:
    """A 400 has its class."""
    await http.post("/v1/chat/completions", json={**CHAT, "tempature": 1})
    span = spans.only(NAME)
    assert dict(span.attributes or {})["error.type"] == "InvalidRequest"
    assert span.status.status_code is StatusCode.UNSET


async def test_failure_is_an_error_of_the_span(http: httpx.AsyncClient, spans: Spans, workers: Followed) -> None:
    """A 503 has its class and no text, and its body leads to the span."""
    workers.error = EngineUnavailable("The policy is down.")
    answer = await http.post("/v1/chat/completions", json=CHAT)
    span = spans.only(NAME)
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())
    assert dict(span.attributes or {})["error.type"] == "EngineUnavailable"
    assert answer.json()["error"]["trace_id"] == f"{span.context.trace_id:032x}"


async def test_stream_that_breaks_off_is_an_error_of_the_span(
    http: httpx.AsyncClient, spans: Spans, workers: Followed
) -> None:
    """Its status was good, and its last event leads to the span."""
    workers.told, workers.error = [Progress(text="So")], EngineUnavailable("The policy is down.")
    answer = await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    span = spans.only(NAME)
    last = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))
    assert answer.status_code == 200
    assert span.status.status_code is StatusCode.ERROR
    assert last["error"]["trace_id"] == f"{span.context.trace_id:032x}"


async def test_span_of_a_stream_lasts_until_its_end(http: httpx.AsyncClient, spans: Spans, workers: Followed) -> None:
    """It knows what the answer has cost."""
    await http.post("/v1/chat/completions", json={**SEARCHED, "stream": True})
    facts = dict(spans.only(NAME).attributes or {})
    assert (facts["http.response.status_code"], facts["mull.policy.kept_tokens"]) == (200, 10)
    assert workers.interests != [Interest()]


async def test_scoring_is_a_span(http: httpx.AsyncClient, spans: Spans, workers: Followed) -> None:
    """With what it has cost; the workers are told where they are."""
    body = {"model": "tiny", "question": "1+1?", "solutions": ["1\n\n2"]}
    assert (await http.post("/v1/score", json=body)).status_code == 200
    facts = dict(spans.only("POST /v1/score").attributes or {})
    assert (facts["mull.model"], facts["mull.reward.submitted_tokens"]) == ("tiny", 40)
    assert workers.headers[0] is not None


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_have_no_spans(http: httpx.AsyncClient, spans: Spans, path: str) -> None:
    """Nobody looks for them, and there would be more of them than of all others."""
    await http.get(path)
    assert spans.ended == ()


async def test_unknown_paths_are_one_name(http: httpx.AsyncClient, spans: Spans) -> None:
    """What a client writes is no name of a span."""
    await http.get("/v1/nothing/here")
    await http.get("/v1/traces/t-1")
    assert [span.name for span in spans.ended] == ["GET", "GET /v1/traces/{id}"]

"""A job, which may be done long after its request was answered, and by another gateway."""

import asyncio
from typing import Any

import httpx
from fake_workers import FakeWorkers, settings
from kept_spans import Spans

from service.errors import NoAnswer
from service.gateway.app import create_app
from service.tracing.carried import Headers, here

LIMIT_S = 20.0
JOB = {"model": "tiny", "input": "1+1?", "background": True}


class Followed(FakeWorkers):
    """Workers that note where in a trace they are asked."""

    headers: Headers | None = None

    async def _asked(self, deadline_s: float) -> None:
        self.headers = here.get()
        await super()._asked(deadline_s)


async def done(workers: FakeWorkers, redis_url: str, spans: Spans) -> httpx.Response:
    """Make a job and wait until it has ended."""
    app = create_app(settings(redis={"url": redis_url, "timeout_ms": 1000}), workers)
    transport: Any = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://mull") as http,
        asyncio.timeout(LIMIT_S),
    ):
        made = await http.post("/v1/responses", json=JOB)
        while not spans.named("job"):  # noqa: ASYNC110  # what is kept gives no sign
            await asyncio.sleep(0.01)
    return made


async def test_job_is_below_the_request_that_made_it(spans: Spans, valkey) -> None:
    """Its workers are told of the job's span; what the search has cost is said there."""
    workers = Followed()
    made = await done(workers, valkey.url, spans)
    request, job = spans.only("POST /v1/responses"), spans.only("job")
    facts = dict(job.attributes or {})
    assert job.parent is not None
    assert job.parent.span_id == request.context.span_id
    assert facts["mull.trace_id"] == made.headers["x-request-id"] == f"{job.context.trace_id:032x}"
    assert (facts["mull.strategy"], facts["mull.policy.kept_tokens"]) == ("sample", 10)
    assert workers.headers is not None
    assert workers.headers["traceparent"].split("-")[2] == f"{job.context.span_id:016x}"


async def test_job_that_fails_has_its_class(spans: Spans, valkey) -> None:
    """As a request has."""
    workers = Followed()
    workers.error = NoAnswer("Too late.")
    await done(workers, valkey.url, spans)
    assert dict(spans.only("job").attributes or {})["error.type"] == "NoAnswer"

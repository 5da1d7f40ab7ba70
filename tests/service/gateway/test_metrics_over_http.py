"""What /metrics says of requests, searches, doors and jobs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from fake_workers import FakeWorkers, result, settings
from prometheus_client.parser import text_string_to_metric_families

from service.doors.keys import Quota, key_file
from service.errors import EngineUnavailable, InvalidRequest, NoAnswer
from service.gateway.app import create_app
from service.search.progress import Progress, Standing
from service.search.request import SearchRequest, SearchResult
from service.settings import Settings
from service.stack.ports import free_ports

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "What is 1+1?"}]}
BEST = CHAT | {"mull": {"strategy": {"name": "best_of_n", "samples": 4}}}
SECONDS = "mull_request_duration_seconds_count"


def served(configuration: Settings, workers: FakeWorkers) -> httpx.AsyncClient:
    """A client of a gateway on those workers."""
    transport = httpx.ASGITransport(create_app(configuration, workers), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://mull")


async def told(
    http: httpx.AsyncClient, name: str, headers: dict[str, str] | None = None, **labels: str
) -> float | None:
    """The value of one metric; `None` where it is not told."""
    text = (await http.get("/metrics", headers=headers)).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return next((s.value for s in samples if (s.name, s.labels) == (name, labels)), None)


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until something is so, for at most five seconds."""
    for _ in range(250):
        if await is_so():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it was not so after five seconds")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (InvalidRequest("No."), "client_error"),
        (EngineUnavailable("Gone."), "server_error"),
        (RuntimeError("A mistake."), "server_error"),
        (NoAnswer("Too late."), "deadline"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_duration_tells_what_became_of_a_search(
    http: httpx.AsyncClient, workers: FakeWorkers, error: Exception | None, outcome: str, stream: bool
) -> None:
    """Also where a stream breaks off whose status has been sent."""
    workers.error = error
    workers.told = [Progress(standing=Standing(begun=4, steps=1, ended=0, answer=None, votes=None))]
    await http.post("/v1/chat/completions", json=BEST | {"stream": stream})
    assert await told(http, SECONDS, strategy="best_of_n", outcome=outcome) == 1


async def test_first_progress_is_timed(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Once per search that somebody looks on at, however much it tells."""
    workers.told = [Progress(standing=Standing(begun=4, steps=1, ended=0, answer=None, votes=None))] * 3
    await http.post("/v1/chat/completions", json=BEST)
    await http.post("/v1/chat/completions", json=BEST | {"stream": True})
    assert await told(http, "mull_time_to_first_progress_seconds_count", strategy="best_of_n") == 1


async def test_money_is_counted_by_model_and_role(http: httpx.AsyncClient) -> None:
    """At the configured prices: 20 prompt and 40 written tokens of the policy, 80 submitted of the reward model."""
    await http.post("/v1/chat/completions", json=BEST)
    await http.post("/v1/score", json={"model": "tiny", "question": "1+1?", "solutions": ["So 2."]})
    assert await told(http, "mull_cost_total", model="tiny", role="policy", strategy="best_of_n") == 100e-6
    assert await told(http, "mull_cost_total", model="tiny", role="reward", strategy="best_of_n") == 40e-6
    assert await told(http, "mull_cost_total", model="tiny", role="reward", strategy="none") == 10e-6


async def test_no_money_without_prices(workers: FakeWorkers) -> None:
    """Where nothing has a price, nothing is said of costs."""
    free = {"policies": {"p": {"model": "some/policy"}}, "reward_models": {"r": {"model": "some/prm"}}}
    async with served(settings(**free), workers) as http:
        await http.post("/v1/chat/completions", json=BEST)
        assert "mull_cost_total{" not in (await http.get("/metrics")).text


async def test_answers_tell_how_sure_they_are(http: httpx.AsyncClient) -> None:
    """Four candidates with four answers: a vote without a margin, and a score of a half."""
    await http.post("/v1/chat/completions", json=BEST)
    assert await told(http, "mull_vote_margin_sum", strategy="best_of_n") == 0
    assert await told(http, "mull_vote_confidence_sum", strategy="best_of_n") == 0.25
    assert await told(http, "mull_answer_score_sum", strategy="best_of_n") == 0.5


async def test_what_was_taken_over_is_not_spent_again() -> None:
    """A search that goes on from an earlier one: what that had paid is counted apart."""

    class Continuing(FakeWorkers):
        async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
            smaller = request.model_copy(update={"strategy": request.strategy.model_copy(update={"samples": 3})})
            return result(request).model_copy(update={"continued": result(smaller).usage})

    async with served(settings(), Continuing()) as http:
        await http.post("/v1/chat/completions", json=BEST)
        written = [
            await told(http, "mull_policy_tokens_total", strategy="best_of_n", kind=kind)
            for kind in ("kept", "discarded")
        ]
        assert (written, await told(http, "mull_reused_tokens_total", strategy="best_of_n")) == ([10, 0], 30)


async def test_known_counters_begin_at_zero(http: httpx.AsyncClient) -> None:
    """So that their first event is seen as a rise."""
    for result_ in ("hit", "miss", "coalesced", "extended", "off", "error"):
        assert await told(http, "mull_cache_requests_total", result=result_) == 0
    for status in ("completed", "incomplete", "failed", "cancelled"):
        assert await told(http, "mull_jobs_ended_total", status=status) == 0
    for reason in ("full", "late", "quota"):
        assert await told(http, "mull_admission_refused_total", reason=reason) == 0
    for kind in ("search", "score"):
        assert await told(http, "mull_searches_in_flight", kind=kind) == 0


async def test_queue_is_told_in_tokens(workers: FakeWorkers) -> None:
    """One search runs and one waits, each with its price; a third finds no room; the limits are the settings'."""
    workers.hold = True
    doors = {"tokens_in_flight": 1000, "tokens_waiting": 1500}
    async with served(settings(doors=doors), workers) as http:
        ask = BEST | {"max_completion_tokens": 250}
        waiting = [asyncio.create_task(http.post("/v1/chat/completions", json=ask | {"seed": n})) for n in range(2)]

        async def one_waits() -> bool:
            return await told(http, "mull_admission_tokens", state="waiting") == 1000

        await until(one_waits)
        assert (await http.post("/v1/chat/completions", json=ask | {"seed": 3})).status_code == 503
        assert await told(http, "mull_admission_tokens", state="in_flight") == 1000
        assert await told(http, "mull_admission_limit_tokens", state="in_flight") == 1000
        assert await told(http, "mull_admission_limit_tokens", state="waiting") == 1500
        assert await told(http, "mull_admission_refused_total", reason="full") == 1
        assert await told(http, "mull_searches_in_flight", kind="search") == 2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_turn_that_does_not_come_is_counted_as_late(workers: FakeWorkers) -> None:
    """It is refused at its deadline."""
    workers.hold = True
    async with served(settings(doors={"tokens_in_flight": 1}), workers) as http:
        first = asyncio.create_task(http.post("/v1/chat/completions", json=BEST))
        await asyncio.wait_for(workers.asked.wait(), 5)
        hurried = BEST | {"seed": 1, "mull": BEST["mull"] | {"budget": {"deadline_ms": 50}}}
        assert (await http.post("/v1/chat/completions", json=hurried)).status_code == 503
        assert await told(http, "mull_admission_refused_total", reason="late") == 1
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_quota_that_is_used_up_is_counted(workers: FakeWorkers, tmp_path: Path) -> None:
    """A key's 429 is one of the doors' refusals."""
    configuration = settings(state_dir=tmp_path)
    shown = {"authorization": f"Bearer {key_file(configuration).add('ann', Quota(requests_per_minute=1))}"}
    async with served(configuration, workers) as http:
        statuses = [(await http.post("/v1/chat/completions", json=CHAT, headers=shown)).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert await told(http, "mull_admission_refused_total", shown, reason="quota") == 1


async def test_scoring_is_in_flight_by_its_kind(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """It is no search."""
    workers.hold = True
    ask = {"model": "tiny", "question": "1+1?", "solutions": ["So 2."]}
    scoring = asyncio.create_task(http.post("/v1/score", json=ask))
    await asyncio.wait_for(workers.asked.wait(), 5)
    assert await told(http, "mull_searches_in_flight", kind="score") == 1
    assert await told(http, "mull_searches_in_flight", kind="search") == 0
    scoring.cancel()
    await asyncio.gather(scoring, return_exceptions=True)


@pytest.fixture
async def jobs(workers: FakeWorkers, valkey: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that does jobs, one at a time."""
    app = create_app(settings(redis={"url": valkey.url, "timeout_ms": 2000}, jobs={"at_once": 1}), workers)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        client.base_url = "http://mull"  # type: ignore[assignment]
        yield client


async def test_jobs_are_told_by_their_state(jobs: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """One runs, one waits for it; both are cancelled, and counted by how they ended."""
    workers.hold = True
    ask = {"model": "tiny", "input": "What is 1+1?", "background": True}
    ids = [(await jobs.post("/v1/responses", json=ask | {"metadata": {"n": str(n)}})).json()["id"] for n in range(2)]

    async def one_of_each() -> bool:
        return [await told(jobs, "mull_jobs", state=state) for state in ("queued", "in_progress")] == [1, 1]

    await until(one_of_each)
    for id in ids:
        assert (await jobs.post(f"/v1/responses/{id}/cancel")).status_code == 200
    assert [await told(jobs, "mull_jobs", state=state) for state in ("queued", "in_progress")] == [0, 0]
    assert await told(jobs, "mull_jobs_ended_total", status="cancelled") == 2


async def test_job_that_is_done_is_counted(jobs: httpx.AsyncClient) -> None:
    """By the gateway that has written its end."""
    await jobs.post("/v1/responses", json={"model": "tiny", "input": "What is 1+1?", "background": True})

    async def done() -> bool:
        return await told(jobs, "mull_jobs_ended_total", status="completed") == 1

    await until(done)


async def test_without_redis_nothing_is_said_of_jobs(workers: FakeWorkers) -> None:
    """Neither where there is none, nor where it does not answer: a number would be invented."""
    async with served(settings(redis={"url": "redis://127.0.0.1:1"}), workers) as http:
        assert await told(http, "mull_jobs", state="queued") is None
        assert await told(http, "mull_redis_up") is not None


async def test_workers_metrics_are_passed_on(workers: FakeWorkers) -> None:
    """As Ray's agent tells them on this machine."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text="ray_mull_stopped_total 3.0\n")

    port = next(free_ports())
    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with served(settings(ray={"metrics_port": port}), workers) as http:
            answer = await http.get("/metrics/workers")
    finally:
        await runner.cleanup()
    assert (answer.status_code, answer.text) == (200, "ray_mull_stopped_total 3.0\n")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("ray", [{}, {"metrics_port": 1}], ids=["unknown", "silent"])
async def test_workers_metrics_that_cannot_be_had(workers: FakeWorkers, ray: dict[str, int]) -> None:
    """Where nobody answers, or nobody knows where to ask, that is an error and no empty page."""
    async with served(settings(ray=ray), workers) as http:
        answer = await http.get("/metrics/workers")
    assert answer.status_code == 503
    assert "metrics" in answer.json()["error"]["message"]

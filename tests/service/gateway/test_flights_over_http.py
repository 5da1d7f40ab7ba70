"""Identical requests in flight, as their clients see them: two gateways on one Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings

from service.doors.keys import Quota, key_file
from service.errors import EngineUnavailable
from service.gateway.app import create_app
from service.search.request import SearchRequest, SearchResult
from tests.service.conftest import RedisServer

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}], "reasoning_effort": "low"}
URL = "/v1/chat/completions"
JOIN_S = 0.2
"""Enough for a request to find out that another one searches."""


class Held(FakeWorkers):
    """Workers that answer when they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Wait, then answer or fail."""
        self.requests.append(request)
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.requests.pop()
        return await super().search(request, deadline_s)


@pytest.fixture
def workers() -> Held:
    """The workers of all gateways."""
    return Held()


@pytest.fixture
async def gateway(workers: Held, valkey: RedisServer) -> AsyncIterator[Callable[..., Any]]:
    """Opens gateways on one Redis, or on what `changes` to the settings say."""
    async with AsyncExitStack() as stack:

        async def opened(**changes: object) -> httpx.AsyncClient:
            config = settings(**{"redis": {"url": valkey.url, "timeout_ms": 500}} | changes)
            app = create_app(config, workers)
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://mull"))

        yield opened


def asked(http: httpx.AsyncClient, body: dict[str, Any] = CHAT, **headers: str) -> asyncio.Task[httpx.Response]:
    """A request on its way."""
    return asyncio.create_task(http.post(URL, json=body, headers=headers))


async def metric(http: httpx.AsyncClient, line: str) -> float:
    """The sum of the values on the lines that begin like that."""
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(text.rpartition(" ")[2]) for text in lines if text.startswith(line))


async def test_identical_requests_are_one_search(gateway: Callable[..., Any], workers: Held) -> None:
    """Across gateways: each gets the same answer, and one of them has paid for it."""
    here, there = await gateway(), await gateway()
    answers = [asked(http) for http in (here, there) * 10]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    workers.go.set()
    found = await asyncio.gather(*answers)
    assert len(workers.requests) == 1
    assert sorted(answer.headers["x-mull-cache"] for answer in found) == ["coalesced"] * 19 + ["miss"]
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in found}) == 1
    for answer in found:
        mull, led = answer.json()["mull"], answer.headers["x-mull-cache"] == "miss"
        policy = mull["usage"]["policy"]
        assert mull["cache"] == answer.headers["x-mull-cache"]
        assert mull["cached"] is False
        assert mull["spent"]["policy_tokens"] == (policy["kept"] + policy["discarded"] if led else 0)
        assert mull["spent"]["cost"] == (mull["cost"] if led else 0)
    kept = [await metric(http, 'mull_policy_tokens_total{kind="kept",') for http in (here, there)]
    assert sorted(kept) == [0, 10]
    shared = [await metric(http, 'mull_cache_requests_total{result="coalesced"}') for http in (here, there)]
    assert sum(shared) == 19


async def test_without_redis_a_gateway_shares_with_itself(gateway: Callable[..., Any], workers: Held) -> None:
    """What is in flight is in its own memory."""
    http = await gateway(redis={"enabled": False})
    answers = [asked(http) for _ in range(5)]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    workers.go.set()
    words = [answer.headers["x-mull-cache"] for answer in await asyncio.gather(*answers)]
    assert sorted(words) == ["coalesced"] * 4 + ["off"]


@pytest.mark.parametrize("directive", ["no-cache", "no-store", "max-age=60"])
async def test_who_wants_its_own_search_gets_it(gateway: Callable[..., Any], workers: Held, directive: str) -> None:
    """`Cache-Control` reaches the search as well."""
    http = await gateway()
    workers.go.set()
    first = await asked(http)
    again = await asked(http, **{"cache-control": directive})
    expected = {"no-cache": ("renew", "miss"), "no-store": ("none", "off"), "max-age=60": ("use", "hit")}[directive]
    assert first.headers["x-mull-cache"] == "miss"
    assert again.headers["x-mull-cache"] == expected[1]
    assert workers.requests[-1].memory == expected[0]


async def test_they_do_not_wait_for_others(gateway: Callable[..., Any], workers: Held) -> None:
    """Nor do others wait for them."""
    http = await gateway()
    answers = [asked(http), asked(http, **{"cache-control": "no-cache"}), asked(http, pragma="no-cache")]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    assert len(workers.requests) == 3
    workers.go.set()
    assert {answer.headers["x-mull-cache"] for answer in await asyncio.gather(*answers)} == {"miss"}


async def test_too_old_an_answer_is_searched_afresh(
    gateway: Callable[..., Any], workers: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`max-age`: and its search reads nothing whose age nobody knows. `Age` tells how old a kept answer is."""
    http = await gateway()
    workers.go.set()
    await asked(http)
    monkeypatch.setattr("service.cache.time.time", lambda now=time.time(): now + 30)
    old = await asked(http, **{"cache-control": "max-age=60"})
    assert (old.headers["x-mull-cache"], int(old.headers["age"]) // 10) == ("hit", 3)
    new = await asked(http, **{"cache-control": "max-age=10"})
    assert new.headers["x-mull-cache"] == "miss"
    assert "age" not in new.headers
    assert workers.requests[-1].memory == "renew"
    assert (await asked(http)).headers["age"] == "0"


async def test_bad_directive_is_a_400(gateway: Callable[..., Any], workers: Held) -> None:
    """On every endpoint that remembers."""
    http = await gateway()
    score = {"model": "tiny", "question": "1+1?", "solutions": ["2"]}
    asking = [(URL, CHAT), ("/v1/score", score), ("/v1/responses", {"model": "tiny", "input": "1+1?"})]
    for path, body in asking:
        answer = await http.post(path, json=body, headers={"cache-control": "max-age=soon"})
        assert answer.status_code == 400
        assert "max-age=SECONDS" in answer.json()["error"]["message"]
    assert workers.requests == []


async def test_scores_are_renewed_as_asked(gateway: Callable[..., Any], workers: Held) -> None:
    """What is remembered of scores has no age: any `max-age` makes them anew."""
    http = await gateway()
    score = {"model": "tiny", "question": "1+1?", "solutions": ["2"]}
    for directive in ("private", "no-cache", "max-age=5", "no-store"):
        await http.post("/v1/score", json=score, headers={"cache-control": directive})
    assert [scoring.memory for scoring in workers.scorings] == ["use", "renew", "renew", "none"]


async def test_answer_cut_short_is_for_those_who_waited(gateway: Callable[..., Any], workers: Held) -> None:
    """And for nobody else."""
    here, there = await gateway(), await gateway()
    workers.stopped_by = "deadline"
    answers = [asked(here), asked(there)]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    workers.go.set()
    found = await asyncio.gather(*answers)
    assert {answer.json()["mull"]["stopped_by"] for answer in found} == {"deadline"}
    assert sorted(answer.headers["x-mull-cache"] for answer in found) == ["coalesced", "miss"]
    assert (await asked(there)).headers["x-mull-cache"] == "miss"


async def test_another_deadline_is_another_search(gateway: Callable[..., Any], workers: Held) -> None:
    """It decides how far a search comes; once it has come to its end, both may have its answer."""
    http = await gateway()
    hurried = CHAT | {"mull": {"budget": {"deadline_ms": 5000}}}
    answers = [asked(http), asked(http, hurried)]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    assert len(workers.requests) == 2
    workers.go.set()
    await asyncio.gather(*answers)
    assert (await asked(http, hurried)).headers["x-mull-cache"] == "hit"


async def test_failure_is_everybodys(gateway: Callable[..., Any], workers: Held) -> None:
    """With its own status, and nobody has paid."""
    here, there = await gateway(), await gateway()
    workers.error = EngineUnavailable("The policy is down.")
    answers = [asked(here), asked(there)]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    workers.go.set()
    for answer in await asyncio.gather(*answers):
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "The policy is down."
        assert answer.headers["retry-after"] == "5"
    assert len(workers.requests) == 1


async def test_client_that_leaves_takes_nobody_else_along(gateway: Callable[..., Any], workers: Held) -> None:
    """In its own gateway the search goes on; it ends when the last one has left."""
    http = await gateway()
    leaving = asked(http)
    await workers.asked.wait()
    staying, another = asked(http), asked(http)
    await asyncio.sleep(JOIN_S)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    another.cancel()
    await asyncio.gather(another, return_exceptions=True)
    assert workers.cancelled == 0
    workers.go.set()
    answer = await staying
    assert answer.headers["x-mull-cache"] == "coalesced"
    assert (await asked(http)).headers["x-mull-cache"] == "hit"


async def test_who_waits_keeps_its_own_deadline(gateway: Callable[..., Any], workers: Held) -> None:
    """A leader that hangs in another gateway, its lease renewed, is waited for until then and no longer."""
    here, there = await gateway(), await gateway()
    body = CHAT | {"mull": {"budget": {"deadline_ms": 300}}}
    leading = asked(here, body)
    await workers.asked.wait()
    answers = await asyncio.gather(leading, asked(there, body))
    assert [answer.status_code for answer in answers] == [504, 504]
    assert [answer.json()["error"]["code"] for answer in answers] == ["NoAnswer", "NoAnswer"]


def events(answer: httpx.Response) -> list[str]:
    """What a stream has told, without its heartbeats."""
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]


async def test_streams_wait_as_well(
    gateway: Callable[..., Any], workers: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower gets heartbeats and then the answer; header and last chunk say where it is from."""
    monkeypatch.setattr("service.gateway.sse.HEARTBEAT_S", 0.05)
    here, there = await gateway(), await gateway()
    plain = asked(here)
    await workers.asked.wait()
    streams = [asked(http, CHAT | {"stream": True}) for http in (here, there)]
    await asyncio.sleep(JOIN_S)
    workers.go.set()
    answer = await plain
    for stream in await asyncio.gather(*streams):
        assert stream.headers["x-mull-cache"] == "coalesced"
        assert ": still searching" in stream.text
        *_, last, done = events(stream)
        assert done == "[DONE]"
        assert '"cache":"coalesced"' in last
        assert answer.json()["choices"][0]["message"]["content"][-5:].replace("\\", "\\\\") in stream.text
    assert len(workers.requests) == 1


async def test_streamed_leader_that_leaves_is_no_end(gateway: Callable[..., Any], workers: Held) -> None:
    """Those who wait for its search get the answer all the same."""
    http = await gateway()
    leading = asked(http, CHAT | {"stream": True})
    await workers.asked.wait()
    waiting = asked(http)
    await asyncio.sleep(JOIN_S)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    workers.go.set()
    assert (await waiting).headers["x-mull-cache"] == "coalesced"
    assert workers.cancelled == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_kept_answer_counts_as_a_request_of_its_key(
    gateway: Callable[..., Any], workers: Held, tmp_path: Path, stream: bool
) -> None:
    """The quota comes before the cache, streamed or not; a hit costs a request and no tokens."""
    secret = key_file(settings(state_dir=tmp_path)).add("ann", Quota(requests_per_minute=2, tokens_per_day=100_000))
    http = await gateway(state_dir=tmp_path)
    workers.go.set()
    key = {"authorization": f"Bearer {secret}"}
    answers = [await asked(http, CHAT | {"stream": stream}, **key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers.get("x-mull-cache") for answer in answers] == ["miss", "hit", None]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"


async def test_extended_search_pays_for_what_is_new(gateway: Callable[..., Any], workers: Held) -> None:
    """Of a usage that earlier searches had paid in part."""
    http = await gateway()
    workers.go.set()
    whole = workers.search

    async def extended(request: SearchRequest, deadline_s: float) -> SearchResult:
        found = await whole(request, deadline_s)
        paid = found.usage.policy.model_copy(update={"kept": 0, "discarded": 6, "prompt": 2})
        return found.model_copy(update={"continued": found.usage.model_copy(update={"policy": paid})})

    workers.search = extended  # type: ignore[method-assign]
    answer = await asked(http)
    mull = answer.json()["mull"]
    policy = mull["usage"]["policy"]
    assert answer.headers["x-mull-cache"] == mull["cache"] == "extended"
    assert mull["spent"]["policy_tokens"] == policy["kept"] + policy["discarded"] - 6
    assert mull["spent"]["reward_tokens"] == 0
    assert 0 < mull["spent"]["cost"] < mull["cost"]
    streamed = await asked(http, CHAT | {"seed": 1, "stream": True})
    assert streamed.headers["x-mull-cache"] == "miss"
    assert '"cache":"extended"' in events(streamed)[-2]


async def job(http: httpx.AsyncClient, **headers: str) -> Any:
    """Make a job, and return what it came to."""
    body = {"model": "tiny", "input": "1+1?", "background": True}
    made = (await http.post("/v1/responses", json=body, headers=headers)).json()
    async with asyncio.timeout(20):
        while made["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.05)
            made = (await http.get(f"/v1/responses/{made['id']}")).json()
    return made


async def test_jobs_share_a_search_too(gateway: Callable[..., Any], workers: Held) -> None:
    """Whichever gateways do them."""
    here, there = await gateway(), await gateway()
    jobs = [asyncio.create_task(job(http)) for http in (here, there, here)]
    await workers.asked.wait()
    await asyncio.sleep(JOIN_S)
    workers.go.set()
    done = await asyncio.gather(*jobs)
    assert len(workers.requests) == 1
    assert {made["status"] for made in done} == {"completed"}
    assert sorted(made["mull"]["cache"] for made in done)[-1] == "miss"
    assert sum(made["mull"]["spent"]["policy_tokens"] for made in done) == done[0]["usage"]["output_tokens"]


@pytest.mark.parametrize(("directive", "memory"), [("no-store", "none"), ("no-cache", "renew")])
async def test_a_job_keeps_what_its_request_said(
    gateway: Callable[..., Any], workers: Held, directive: str, memory: str
) -> None:
    """Its search is made later, and maybe elsewhere."""
    http = await gateway()
    workers.go.set()
    await job(http)
    done = await job(http, **{"cache-control": directive})
    assert [request.memory for request in workers.requests] == ["use", memory]
    assert done["mull"]["cache"] == {"none": "off", "renew": "miss"}[memory]
    assert (await job(http))["mull"]["cache"] == "hit"

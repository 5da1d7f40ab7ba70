import asyncio
import logging
from typing import Any

import httpx
import openai
import pytest
from fake_workers import FakeWorkers, settings
from starlette.types import ASGIApp

from service.errors import EngineError, EngineUnavailable, NoAnswer, Overloaded, QuestionTooLong
from service.gateway.app import create_app

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "What is 1+1?"}]}
VOTE = {"strategy": {"name": "majority_vote", "samples": 4}}
BEST = {"strategy": {"name": "best_of_n", "samples": 4}}


@pytest.fixture
def client(http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    """OpenAI's own client."""
    return openai.AsyncOpenAI(base_url="http://mull/v1", api_key="none", http_client=http, max_retries=0)


async def test_openai_client_reads_a_chat(client: openai.AsyncOpenAI) -> None:
    """The official client parses an answer, its choices and its usage."""
    answer = await client.chat.completions.create(**CHAT, n=2, extra_body={"mull": BEST})
    assert [c.message.content for c in answer.choices] == ["So it is \\boxed{0}", "So it is \\boxed{1}"]
    assert [c.finish_reason for c in answer.choices] == ["stop", "stop"]
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 40, 45)
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 20


async def test_openai_client_reads_a_completion(client: openai.AsyncOpenAI) -> None:
    """The official client parses a text completion; one sample's cached prompt tokens are told."""
    answer = await client.completions.create(model="tiny", prompt="1+1=")
    assert answer.choices[0].text == "So it is \\boxed{0}"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4


async def test_openai_client_lists_models(client: openai.AsyncOpenAI) -> None:
    """The configured names can be listed."""
    assert [m.id async for m in client.models.list()] == ["tiny", "bare"]


async def test_mull_object_says_how(http: httpx.AsyncClient) -> None:
    """Beside OpenAI's body the answer says how it was found and what it cost."""
    response = await http.post("/v1/chat/completions", json=CHAT | {"mull": BEST, "temperature": 0})
    mull = response.json()["mull"]
    assert mull["strategy"] == "best_of_n"
    assert mull["answer"] == "0"
    assert mull["confidence"] == 0.25
    assert mull["stopped_by"] == "completed"
    assert mull["usage"]["policy"] == {"kept": 10, "discarded": 30, "prompt": 20, "cached": 16, "estimated": False}
    reward = {"submitted": 80, "cached": None, "generated": 4, "remembered": 0, "estimated": False}
    assert mull["usage"]["reward"] == reward
    # 20 tokens read at 1 and 40 written at 2, and 80 scored at 0.5, per million.
    assert mull["cost"] == pytest.approx(140e-6)
    assert len(mull["votes"]) == 4
    assert len(mull["warnings"]) == 1
    assert mull["trace_id"] == response.headers["x-request-id"]
    assert "candidates" not in mull


async def test_candidates_are_shown_on_request(http: httpx.AsyncClient) -> None:
    """`include` brings every candidate with its scores."""
    response = await http.post("/v1/chat/completions", json=CHAT | {"mull": VOTE | {"include": ["candidates"]}})
    assert [c["answer"] for c in response.json()["mull"]["candidates"]] == ["0", "1", "2", "3"]


async def test_no_price_no_cost(workers: FakeWorkers) -> None:
    """Without a configured price no cost is made up."""
    config = settings(policies={"p": {"model": "some/policy"}})
    transport = httpx.ASGITransport(create_app(config, workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert "cost" not in response.json()["mull"]


ERRORS = [
    (EngineUnavailable("The policy is down."), openai.InternalServerError, 503, "EngineUnavailable"),
    (Overloaded("Full."), openai.InternalServerError, 503, "Overloaded"),
    (EngineError("Nonsense from the policy."), openai.InternalServerError, 502, "EngineError"),
    (NoAnswer("Nothing yet."), openai.InternalServerError, 504, "NoAnswer"),
    (QuestionTooLong("900 tokens."), openai.BadRequestError, 400, "QuestionTooLong"),
    (RuntimeError("secret detail"), openai.InternalServerError, 500, "MullError"),
]


@pytest.mark.parametrize(("error", "seen", "status", "code"), ERRORS, ids=[e[3] for e in ERRORS])
async def test_errors_reach_the_openai_client(
    client: openai.AsyncOpenAI,
    workers: FakeWorkers,
    error: Exception,
    seen: type[openai.APIStatusError],
    status: int,
    code: str,
) -> None:
    """Whatever fails below becomes an OpenAI-shaped error that the official client raises; a 503 has Retry-After."""
    workers.error = error
    with pytest.raises(seen) as caught:
        await client.chat.completions.create(**CHAT)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert ("retry-after" in caught.value.response.headers) == (status == 503)


async def test_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    """The official client raises its NotFoundError for an unknown model."""
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(**(CHAT | {"model": "huge"}))


async def test_deadline_is_kept_when_workers_are_silent(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """A second after the deadline the search is cancelled and the client gets a 504."""
    workers.hold = True
    begun = asyncio.get_running_loop().time()
    response = await http.post("/v1/chat/completions", json=CHAT | {"mull": {"budget": {"deadline_ms": 100}}})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "NoAnswer"
    assert asyncio.get_running_loop().time() - begun == pytest.approx(1.1, abs=0.4)
    assert workers.cancelled == 1
    assert workers.deadlines == [pytest.approx(0.1, abs=0.05)]


async def talk(app: ASGIApp, messages: asyncio.Queue[dict[str, Any]]) -> None:
    """Serve one chat whose client sends `messages` and reads nothing."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
    }

    async def nowhere(message: Any) -> None:
        """Nobody is there to read."""

    await asyncio.wait_for(app(scope, messages.get, nowhere), 2)


async def scraped(app: ASGIApp) -> str:
    """Return the metrics."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mull") as http:
        return (await http.get("/metrics")).text


async def test_client_that_leaves_cancels_its_search(workers: FakeWorkers) -> None:
    """When the client disconnects, the search stops at once; the metrics call it 499."""
    workers.hold = True
    app = create_app(settings(), workers)
    messages = asyncio.Queue[dict[str, Any]]()
    body = httpx.Request("POST", "http://mull", json=CHAT).content
    messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
    talking = asyncio.create_task(talk(app, messages))
    await asyncio.wait_for(workers.asked.wait(), 2)
    messages.put_nowait({"type": "http.disconnect"})
    await talking
    assert workers.cancelled == 1
    assert 'mull_requests_total{endpoint="chat",status="499",strategy="sample"} 1.0' in await scraped(app)


async def test_client_that_leaves_while_writing_is_no_crash(workers: FakeWorkers) -> None:
    """A body that is never finished is the client's affair, not an error of ours."""
    app = create_app(settings(), workers)
    messages = asyncio.Queue[dict[str, Any]]()
    messages.put_nowait({"type": "http.request", "body": b'{"model": "ti', "more_body": True})
    messages.put_nowait({"type": "http.disconnect"})
    await talk(app, messages)
    assert 'mull_requests_total{endpoint="chat",status="499",strategy="none"} 1.0' in await scraped(app)


async def test_request_id_is_kept_or_made(http: httpx.AsyncClient) -> None:
    """A harmless id from the client is echoed; another one is replaced."""
    kept = await http.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "run-7"})
    made = await http.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "a b\tc"})
    assert kept.headers["x-request-id"] == "run-7"
    assert kept.json()["id"] == "chatcmpl-run-7"
    assert len(made.headers["x-request-id"]) == 32


async def test_log_line_has_no_word_of_the_question(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """One line per request with its id, status and strategy; the question stays private."""
    logging.getLogger("mull").propagate = True
    with caplog.at_level(logging.INFO, logger="mull"):
        await http.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "run-8"})
    records = [r for r in caplog.records if r.name == "mull.access"]
    assert len(records) == 1
    fields = vars(records[0])["fields"]
    assert (fields["request_id"], fields["status"], fields["strategy"]) == ("run-8", 200, "sample")
    assert "1+1" not in str(vars(records[0]))


async def test_metrics_count_what_was_spent(http: httpx.AsyncClient) -> None:
    """Requests, tokens and confidence can be scraped; an unknown path has no label of its own."""
    await http.post("/v1/chat/completions", json=CHAT | {"mull": BEST})
    await http.get("/no/such/path")
    text = (await http.get("/metrics")).text
    assert 'mull_requests_total{endpoint="chat",status="200",strategy="best_of_n"} 1.0' in text
    assert 'mull_requests_total{endpoint="other",status="404",strategy="none"} 1.0' in text
    assert 'mull_policy_tokens_total{kind="kept",strategy="best_of_n"} 10.0' in text
    assert 'mull_policy_tokens_total{kind="discarded",strategy="best_of_n"} 30.0' in text
    assert 'mull_reward_tokens_total{kind="submitted",strategy="best_of_n"} 80.0' in text
    assert 'mull_cache_requests_total{result="off"} 1.0' in text
    assert 'mull_vote_confidence_count{strategy="best_of_n"} 1.0' in text
    assert 'mull_searches_in_flight{kind="search"} 0.0' in text


async def test_openapi_describes_the_bodies(http: httpx.AsyncClient) -> None:
    """The description names every field of a request, and every reference in it leads somewhere."""
    document = (await http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {"model", "messages", "reasoning_effort", "mull"} <= set(schemas["ChatAsk"]["properties"])
    references = set(_references(document))
    assert "#/components/schemas/CompletionAsk" in references
    assert {r.removeprefix("#/components/schemas/") for r in references} <= set(schemas)


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [r for part in node for r in _references(part)]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for part in node.values() for r in _references(part)]
    return []

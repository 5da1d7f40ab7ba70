import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fake_workers import FakeWorkers, settings

from service.doors.keys import Quota, key_file
from service.doors.ledger import entries, ledger_path
from service.errors import ConfigError
from service.gateway.app import create_app
from service.settings import Settings

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "What is 1+1?"}]}
VOTE = CHAT | {"mull": {"strategy": {"name": "majority_vote", "samples": 4}}, "max_completion_tokens": 50}


def configured(tmp_path: Path, **changes: object) -> Settings:
    """A gateway that keeps its keys in `tmp_path`."""
    return settings(state_dir=tmp_path, **changes)


def served(configuration: Settings, workers: FakeWorkers) -> httpx.AsyncClient:
    """A client of a gateway on those workers."""
    transport = httpx.ASGITransport(create_app(configuration, workers), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://mull")


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """The key of alice, who may do two requests a minute."""
    return key_file(configured(tmp_path)).add("alice", Quota(requests_per_minute=2, tokens_per_day=10_000))


@pytest.fixture
async def locked(tmp_path: Path, secret: str, workers: FakeWorkers) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that asks for keys."""
    async with served(configured(tmp_path), workers) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/strategies", "/metrics", "/metrics/workers", "/openapi.json", "/v1/traces/x", "/"]
)
async def test_every_path_asks_for_a_key(locked: httpx.AsyncClient, path: str) -> None:
    """Only who asks whether it lives needs none."""
    response = await locked.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "x-request-id" in response.headers


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_key(locked: httpx.AsyncClient, path: str) -> None:
    """A probe of an orchestrator carries no secrets."""
    assert (await locked.get(path)).status_code == 200


async def test_openai_client_is_refused_in_its_own_words(locked: httpx.AsyncClient, secret: str) -> None:
    """The official client raises what it raises for OpenAI's own refusals."""
    stranger = openai.AsyncOpenAI(base_url="http://mull/v1", api_key="none", http_client=locked, max_retries=0)
    with pytest.raises(openai.AuthenticationError) as refused:
        await stranger.chat.completions.create(**CHAT)
    assert refused.value.code == "invalid_api_key"
    alice = openai.AsyncOpenAI(base_url="http://mull/v1", api_key=secret, http_client=locked, max_retries=0)
    await alice.chat.completions.create(**CHAT)
    await alice.chat.completions.create(**CHAT)
    with pytest.raises(openai.RateLimitError) as limited:
        await alice.chat.completions.create(**CHAT)
    assert limited.value.code == "rate_limit_exceeded"
    assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60


async def test_answers_tell_how_the_key_stands(locked: httpx.AsyncClient, secret: str) -> None:
    """Answers and refusals alike, whole or streamed."""
    first = await locked.post("/v1/chat/completions", json=VOTE, headers=bearer(secret))
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 10_000
    second = await locked.post("/v1/chat/completions", json=VOTE | {"stream": True}, headers=bearer(secret))
    assert second.status_code == 200
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    for body in (VOTE, VOTE | {"stream": True}):
        refused = await locked.post("/v1/chat/completions", json=body, headers=bearer(secret))
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_what_was_spent_is_in_the_ledger(tmp_path: Path, workers: FakeWorkers) -> None:
    """Searches, streamed searches and scorings, by their bills."""
    configuration = configured(tmp_path)
    secret = key_file(configuration).add("alice", Quota())
    app = create_app(configuration, workers)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        for body in (VOTE, VOTE | {"stream": True}):
            assert (await http.post("/v1/chat/completions", json=body, headers=bearer(secret))).status_code == 200
        scoring = {"model": "tiny", "question": "1+1?", "solutions": ["It is 2."]}
        assert (await http.post("/v1/score", json=scoring, headers=bearer(secret))).status_code == 200
    (entry,) = entries(ledger_path(configuration))
    assert (entry.key, entry.requests) == ("alice", 3)
    assert (entry.prompt_tokens, entry.policy_tokens, entry.reward_tokens, entry.unbilled_tokens) == (10, 80, 16, 0)


async def test_logs_name_the_key_and_never_show_it(
    locked: httpx.AsyncClient, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even one that is wrong by a letter."""
    logging.getLogger("mull").propagate = True
    with caplog.at_level(logging.DEBUG):
        await locked.post("/v1/chat/completions", json=CHAT, headers=bearer(secret))
        await locked.post("/v1/chat/completions", json=CHAT, headers=bearer(secret + "x"))
    assert caplog.records
    assert secret not in "".join(f"{record.getMessage()}{record.__dict__}" for record in caplog.records)


async def test_gateway_open_to_others_does_not_start(tmp_path: Path, workers: FakeWorkers) -> None:
    """Unless there are keys, or somebody has said so."""
    with pytest.raises(ConfigError, match="mull keys add"):
        create_app(configured(tmp_path, gateway={"host": "0.0.0.0"}), workers)


async def test_other_pages_may_not_call_unless_they_are_named(tmp_path: Path, workers: FakeWorkers) -> None:
    """CORS is off; a page that is configured reads refusals too."""
    page, asks = "https://app.example", {"access-control-request-method": "POST"}
    async with served(configured(tmp_path), workers) as http:
        assert "access-control-allow-origin" not in (await http.get("/v1/models", headers={"origin": page})).headers
        refused = await http.options("/v1/chat/completions", headers={"origin": page, **asks})
        assert "access-control-allow-origin" not in refused.headers
    key_file(configured(tmp_path)).add("alice", Quota())
    async with served(configured(tmp_path, doors={"cors_origins": [page]}), workers) as http:
        allowed = await http.options("/v1/chat/completions", headers={"origin": page, **asks})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, page)
        no_key = await http.get("/v1/models", headers={"origin": page})
        assert (no_key.status_code, no_key.headers["access-control-allow-origin"]) == (401, page)
        other = await http.get("/v1/models", headers={"origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_full_house_is_an_early_503(tmp_path: Path, workers: FakeWorkers) -> None:
    """What can neither run nor wait is told to come back; what waits is served in its turn."""
    workers.hold = True
    doors = {"tokens_in_flight": 200, "tokens_waiting": 200}
    async with served(configured(tmp_path, doors=doors), workers) as http:
        first = asyncio.create_task(http.post("/v1/chat/completions", json=VOTE))
        await workers.asked.wait()
        second = asyncio.create_task(http.post("/v1/chat/completions", json=VOTE | {"seed": 1}))
        await asyncio.sleep(0.05)
        third = await http.post("/v1/chat/completions", json=VOTE | {"seed": 2})
        assert third.status_code == 503
        assert int(third.headers["retry-after"]) >= 1
        assert len(workers.requests) == 1
        workers.hold = False
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await second).status_code == 200


async def test_candidates_are_no_longer_than_the_server_allows(tmp_path: Path, workers: FakeWorkers) -> None:
    """What a request asks for is bounded by `limits.max_tokens`; nothing is quietly shortened."""
    async with served(configured(tmp_path, limits={"max_tokens": 50}), workers) as http:
        assert (await http.post("/v1/chat/completions", json=VOTE)).status_code == 200
        refused = await http.post("/v1/chat/completions", json=VOTE | {"max_completion_tokens": 51})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "max_completion_tokens"

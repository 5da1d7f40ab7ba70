"""The proxy itself: each trouble is what it says, and is gone when it is taken away."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from engine_proxy import GENERATION, LIES, EngineProxy, Trouble

SOON_S = 0.5
EVENTS = 5
GET, POST = ("GET", "/health"), ("POST", GENERATION)


@pytest.fixture
async def engine() -> AsyncIterator[str]:
    """A server that streams five events, or answers in one piece, and is healthy."""

    async def write(request: web.Request) -> web.StreamResponse:
        choice: dict[str, Any] = {"text": "a", "token_ids": [1], "logprobs": None}
        if not (await request.json())["stream"]:
            return web.json_response({"choices": [choice]})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(EVENTS):
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            await asyncio.sleep(0.01)
        return response

    async def healthy(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post(GENERATION, write)
    app.router.add_get("/health", healthy)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def proxy(engine: str) -> Iterator[EngineProxy]:
    """A proxy before it."""
    with EngineProxy(engine) as made:
        yield made


async def ask(proxy: EngineProxy, method: str, path: str, *, stream: bool = True) -> tuple[int, bytes]:
    """Return status and body, at most `SOON_S` seconds after asking."""
    async with (
        asyncio.timeout(SOON_S),
        aiohttp.ClientSession() as http,
        http.request(method, proxy.url + path, json={"stream": stream}) as reply,
    ):
        return reply.status, await reply.read()


@pytest.mark.parametrize("stream", [True, False])
async def test_what_passes_is_untouched(proxy: EngineProxy, engine: str, stream: bool) -> None:
    """Byte for byte, and counted."""
    async with aiohttp.ClientSession(engine) as http, http.post(GENERATION, json={"stream": stream}) as reply:
        direct = await reply.read()
    assert await ask(proxy, *POST, stream=stream) == (200, direct)
    assert (proxy.begun, proxy.writing) == (1, 0)


async def test_one_that_is_gone_refuses_and_comes_back(proxy: EngineProxy) -> None:
    """Nobody listens; what was being sent is reset; afterwards it is where it was."""
    writing = asyncio.create_task(ask(proxy, *POST))
    while not proxy.writing:  # noqa: ASYNC110  # the proxy gives no sign
        await asyncio.sleep(0)
    proxy.suffer(Trouble("refuse"))
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        await writing
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(proxy, *GET)
    proxy.recover()
    assert (await ask(proxy, *GET))[0] == 200


async def test_one_that_hangs_says_nothing_until_it_goes_on(proxy: EngineProxy) -> None:
    """It takes the connection, and what was asked meanwhile is answered later."""
    proxy.suffer(Trouble("hang"))
    with pytest.raises(TimeoutError):
        await ask(proxy, *GET)
    waiting = asyncio.create_task(ask(proxy, *POST))
    await asyncio.sleep(SOON_S / 5)
    proxy.recover()
    assert (await waiting)[0] == 200


async def test_one_that_fails_is_healthy_all_the_same(proxy: EngineProxy) -> None:
    """What is posted gets a 500 in vLLM's shape."""
    proxy.suffer(Trouble("fail"))
    status, body = await ask(proxy, *POST)
    assert (status, set(json.loads(body))) == (500, {"error"})
    assert (await ask(proxy, *GET))[0] == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_each_lie_is_another_and_none_is_the_truth(proxy: EngineProxy, stream: bool) -> None:
    """All with status 200."""
    truth = await ask(proxy, *POST, stream=stream)
    proxy.suffer(Trouble("lie"))
    told = [await ask(proxy, *POST, stream=stream) for _ in LIES]
    assert {status for status, _ in told} == {200}
    assert len({body for _, body in told} - {truth[1]}) == len(LIES)


async def test_one_that_breaks_off_does_so_in_the_middle(proxy: EngineProxy) -> None:
    """Some events come, and no end."""
    proxy.suffer(Trouble("cut", events=2))
    found = b""
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        async with aiohttp.ClientSession(proxy.url) as http, http.post(GENERATION, json={"stream": True}) as reply:
            async for part in reply.content.iter_any():
                found += part
    assert found.count(b"data: ") <= 2
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        await ask(proxy, *POST, stream=False)


async def test_a_slow_one_takes_its_time_over_each_event(proxy: EngineProxy) -> None:
    """Every event comes that much later, all of them in the end."""
    proxy.suffer(Trouble("slow", delay_s=0.05))
    begun = asyncio.get_running_loop().time()
    _, body = await ask(proxy, *POST)
    assert asyncio.get_running_loop().time() - begun >= EVENTS * 0.05
    assert body.count(b"data: ") == EVENTS


async def test_a_client_that_leaves_is_forgotten(proxy: EngineProxy) -> None:
    """Nothing is written any more for one that has closed its connection."""
    async with aiohttp.ClientSession(proxy.url) as http, http.post(GENERATION, json={"stream": True}):
        pass
    async with asyncio.timeout(SOON_S):
        while proxy.writing:  # noqa: ASYNC110  # the proxy gives no sign
            await asyncio.sleep(0.01)

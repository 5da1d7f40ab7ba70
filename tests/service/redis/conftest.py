"""Ways to a server, and a server that is far away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.redis_link import RedisLink
from service.settings import RedisSettings

Linked = Callable[..., RedisLink]


@pytest.fixture
async def at_end() -> AsyncIterator[AsyncExitStack]:
    """What is put on it is closed after the test, the last one first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def linked(at_end: AsyncExitStack) -> Linked:
    """Make links: `linked(url, timeout_ms=…)`."""

    def make(url: str, timeout_ms: int = 10_000, **more: Any) -> RedisLink:
        link = RedisLink(RedisSettings.model_validate({"url": url, "timeout_ms": timeout_ms, **more}))
        at_end.push_async_callback(link.aclose)
        return link

    return make


class Far:
    """A TCP proxy, at `url`, that passes on what a client sends after `delay_s` seconds, and answers at once."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.connections = 0
        self.url = ""
        self._port = port

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        server, to = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(client, to, delayed=True))
                both.create_task(self._pass(server, back, delayed=False))
        finally:
            to.close()
            back.close()
            self.connections -= 1

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, delayed: bool) -> None:
        while data := await source.read(65_536):
            if delayed:
                await asyncio.sleep(self.delay_s)
            sink.write(data)
        raise ConnectionError


@pytest.fixture
async def far(redis_server: Any, at_end: AsyncExitStack) -> Far:
    """Each of the two servers, empty, and as far away as `delay_s` says."""
    made = Far(redis_server.port)
    connections: set[asyncio.Task[None]] = set()

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(_quietly(made.serve(client, back)))
        connections.add(serving)
        serving.add_done_callback(connections.discard)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)

    async def stop() -> None:
        listening.close()
        for serving in connections:
            serving.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    at_end.push_async_callback(stop)
    made.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    return made


async def _quietly(serving: Awaitable[None]) -> None:
    try:
        await serving
    except* OSError:
        pass


async def _healed(link: RedisLink) -> None:
    for _ in range(1000):
        if link.state == "on":
            return
        await asyncio.sleep(0.02)
    pytest.fail("the link has not healed")


@pytest.fixture
def healed() -> Callable[[RedisLink], Awaitable[None]]:
    """Wait until a link is on again."""
    return _healed

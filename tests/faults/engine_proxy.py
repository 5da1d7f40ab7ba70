"""An engine with faults: a proxy before a real one that refuses, hangs, lags, fails, lies and breaks off, as told."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

Kind = Literal["refuse", "hang", "slow", "fail", "lie", "cut"]
GENERATION = "/v1/completions"
CONTROL_S = 10.0
EVENTS = "text/event-stream"
_PASSED_ON = ("authorization", "content-type", "x-request-id")
_FAILURE = {"error": {"message": "out of luck", "type": "InternalServerError", "param": None, "code": 500}}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with an engine.

    refuse: nobody listens, and what was open is reset, as when its process is killed. hang: connections are taken,
    and nothing more is said on any. slow: every answer and every event comes `delay_s` later. fail: what is posted gets
    a 500, health stays good. lie: generations come with status 200 and something unusable, each time something else.
    cut: a generation is reset after `events` events, or in the middle of its body.
    """

    kind: Kind
    delay_s: float = 0.0
    events: int = 2


class EngineProxy:
    """Listens on a port of its own, in a thread of its own; a context manager.

    `begun` counts the generations that were asked for, `writing` those of which something has come and not all.
    """

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.begun = 0
        self.writing = 0
        self._upstream = upstream
        self._trouble: Trouble | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._lies = count()
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_S)
        self._loop.close()

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong now."""
        return self._trouble

    def suffer(self, trouble: Trouble) -> None:
        """Return once the trouble is there; it stays until `recover`."""
        self._do(self._suffer(trouble))

    def recover(self) -> None:
        """Return once nothing is wrong any more. What hung goes on."""
        self._do(self._recover())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_S)

    # --- in the thread ---

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            self._upstream,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def _stop(self) -> None:
        self._open.set()
        await self._runner.cleanup()
        await self._session.close()

    async def _suffer(self, trouble: Trouble) -> None:
        await self._recover()
        self._trouble = trouble
        if trouble.kind == "hang":
            self._open.clear()
        if trouble.kind == "refuse":
            await self._site.stop()
            server = self._runner.server
            assert server is not None
            for connection in list(server.connections):
                if connection.transport is not None:
                    connection.transport.abort()

    async def _recover(self) -> None:
        was, self._trouble = self._trouble, None
        self._open.set()
        if was is not None and was.kind == "refuse":
            await self._listen()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        generation = request.method == "POST" and request.path == GENERATION
        self.begun += generation
        await self._passing()
        if self._is("fail") and request.method == "POST":
            return web.json_response(_FAILURE, status=500)
        lie = LIES[next(self._lies) % len(LIES)] if generation and self._is("lie") else None
        if lie is _html:
            return web.Response(text="<html>It works!</html>", content_type="text/html")
        try:
            return await self._passed_on(request, body, lie)
        except aiohttp.ClientError:  # the real one is gone, and so are we
            _reset(request)
            return web.Response()

    async def _passed_on(self, request: web.Request, body: bytes, lie: "Lie | None") -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        async with self._session.request(request.method, request.path_qs, data=body, headers=headers) as answer:
            if answer.content_type == EVENTS:
                return await self._stream(request, answer, lie)
            content = lie(await answer.read()) if lie is not None else await answer.read()
            await self._passing()
            response = web.StreamResponse(status=answer.status)
            response.content_type, response.content_length = answer.content_type, len(content)
            await response.prepare(request)
            if request.path == GENERATION and self._is("cut"):
                await response.write(content[: len(content) // 2])
                _reset(request)
            else:
                await response.write(content)
            return response

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, lie: "Lie | None"
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status)
        response.content_type = EVENTS
        await response.prepare(request)
        self.writing += 1
        try:
            sent = 0
            async for event in _events(answer.content):
                await self._passing()
                trouble = self._trouble
                if trouble is not None and trouble.kind == "cut" and sent >= trouble.events:
                    _reset(request)
                    break
                if lie is _short and sent:
                    break
                await response.write(event if lie is None else lie(event))
                sent += 1
        finally:
            self.writing -= 1
        return response

    async def _passing(self) -> None:
        """Hold back what a hung or slow engine has not said yet."""
        await self._open.wait()
        if self._trouble is not None and self._trouble.kind == "slow":
            await asyncio.sleep(self._trouble.delay_s)

    def _is(self, kind: Kind) -> bool:
        return self._trouble is not None and self._trouble.kind == kind


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Return server-sent events one by one, each with the empty line that ends it."""
    kept = b""
    async for part in content.iter_any():
        *whole, kept = (kept + part).split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"
    if kept:
        yield kept


# --- lies: what is sent in the place of an event or of a body ---

Lie = Callable[[bytes], bytes]


def _html(content: bytes) -> bytes:
    """Say something else altogether."""
    raise AssertionError("answered without asking the engine")


def _half(content: bytes) -> bytes:
    """Leave JSON unfinished."""
    return content[: len(content) // 2].rstrip() + b"\n\n"


def _short(content: bytes) -> bytes:
    """End a stream in good order before the text has ended; of a body, leave nothing but the braces."""
    return content if content.startswith(b"data:") else b"{}"


def _no_ids(content: bytes) -> bytes:
    """Leave out what a search needs of a choice: the ids of its tokens, or its log-probabilities."""
    return _changed(content, lambda choice: choice | {"token_ids": None, "logprobs": None})


def _words_for_ids(content: bytes) -> bytes:
    """Send words where token ids belong, and log-probabilities that are no numbers."""
    nonsense = {"tokens": [], "token_logprobs": [], "top_logprobs": [{"a": "b"}], "text_offset": []}
    return _changed(content, lambda choice: choice | {"token_ids": ["seven"], "logprobs": nonsense})


def _changed(content: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    prefix = b"data: " if content.startswith(b"data: ") else b""
    try:
        answer = json.loads(content.removeprefix(prefix))
    except ValueError:
        return content
    answer["choices"] = [change(choice) for choice in answer.get("choices", [])]
    return prefix + json.dumps(answer).encode() + (b"\n\n" if prefix else b"")


LIES: tuple[Lie, ...] = (_html, _half, _no_ids, _short, _words_for_ids)

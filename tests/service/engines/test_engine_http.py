import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm

from service.engines import pulse
from service.engines.failures import lost
from service.engines.fleet import Fleet
from service.errors import EngineError, EngineTimeout, EngineUnavailable, MullError, QuestionTooLong
from service.settings import PolicySettings

TOO_LONG = {"error": {"message": "This model's maximum context length is 512 tokens. However, …", "code": 400}}

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def settings(url: str, **more: object) -> PolicySettings:
    return PolicySettings.model_validate({"model": "small", "url": url, **more})


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    return await at_end.enter_async_context(FakeVllm(name="small").running())


@pytest.fixture
def asks(at_end: AsyncExitStack) -> Callable[..., Fleet]:
    def make(url: str, **more: object) -> Fleet:
        engine = Fleet(settings(url, **more))
        at_end.push_async_callback(engine.aclose)
        return engine

    return make


@pytest.fixture
def serves(at_end: AsyncExitStack) -> Callable[[Handler], Awaitable[str]]:
    """Return what starts a bare server, and gives back its URL."""

    async def start(handler: Handler) -> str:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        at_end.callback(server.close)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    return start


def answer(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def request_line(reader: asyncio.StreamReader) -> str:
    """Read one request, and return its first line."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next((line.split(": ")[1] for line in head.splitlines() if line.startswith("Content-Length")), "0")
    await reader.readexactly(int(length))
    return head.splitlines()[0]


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (400, {"error": {"message": "bad ids"}}, EngineError, "bad ids"),
        (400, TOO_LONG, QuestionTooLong, "512"),
        (401, {"error": "Unauthorized"}, EngineError, "api_key_env"),
        (403, "", EngineError, "api_key_env"),
        (404, {"error": {"message": "no `small`"}}, EngineError, "served_name 'small'"),
        (404, "<html>", EngineError, "without /v1"),
        (307, "", EngineError, "307"),
        (429, "", EngineUnavailable, "429"),
        (500, {"error": {"message": "EngineCore"}}, EngineError, "EngineCore"),
        (503, {"error": {"message": "queue full"}}, EngineUnavailable, "503"),
        (200, "<html>hello</html>", EngineError, "JSON"),
        (200, [1], EngineError, "JSON"),
    ],
)
async def test_what_cannot_be_used_becomes_an_error_of_ours(
    fake: FakeVllm,
    asks: Callable[..., Fleet],
    status: int,
    body: object,
    expected: type[MullError],
    words: str,
) -> None:
    """Each status has its class, and says whose fault it is and what to do."""
    text = body if isinstance(body, str) else json.dumps(body)
    fake.replies["/tokenize"] = lambda _: web.Response(status=status, text=text, headers={"Location": "/elsewhere"})
    with pytest.raises(expected) as caught:
        await asks(fake.url).post("/tokenize", {})
    assert type(caught.value) is expected
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert "policy 'small'" in caught.value.message


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_line(reader)
    writer.transport.abort()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_line(reader)
    writer.close()


async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_line(reader)
    writer.write(b"good morning\r\n\r\n")
    writer.close()


async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_line(reader)
    writer.write(answer("{}" * 99)[:-50])
    writer.close()


@pytest.mark.parametrize("handler", [reset, hang_up, gibberish, half_an_answer])
async def test_a_connection_that_breaks_is_an_engine_that_is_not_there(
    serves: Callable[[Handler], Awaitable[str]], asks: Callable[..., Fleet], handler: Handler
) -> None:
    """A plain request and a stream translate alike."""
    engine = asks(await serves(handler))
    with pytest.raises(EngineUnavailable, match="broke"):
        await engine.post("/v1/completions", {})
    stream = engine.stream("/v1/completions", {}, request_id="r")
    with pytest.raises(EngineUnavailable, match="broke"):
        while await stream.event() is not None:
            pass
    await stream.aclose()


async def test_an_engine_that_nobody_started_is_named(asks: Callable[..., Fleet]) -> None:
    """The connection is refused."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await asks(f"http://127.0.0.1:{port}").get("/v1/models")


def test_what_no_case_is_made_for_is_still_an_engine_error() -> None:
    """Whatever aiohttp comes up with, its name is told."""
    failure = lost("policy 'small'", aiohttp.InvalidURL("ftp://"))
    assert type(failure) is EngineError
    assert "InvalidUR" in failure.message


async def test_an_engines_long_complaint_is_cut(fake: FakeVllm, asks: Callable[..., Fleet]) -> None:
    """An error that repeats its input must not fill the logs."""
    fake.replies["/v1/models"] = lambda _: web.Response(status=500, text="input " * 1000)
    with pytest.raises(EngineError) as caught:
        await asks(fake.url).get("/v1/models")
    assert len(caught.value.message) < 400


async def test_the_api_key_is_sent(fake: FakeVllm, asks: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read from the variable that the configuration names."""
    monkeypatch.setenv("ENGINE_KEY", "s3cret")
    await asks(fake.url, api_key_env="ENGINE_KEY").get("/v1/models")
    assert fake.headers[0]["Authorization"] == "Bearer s3cret"


def test_an_engine_without_url_has_no_client() -> None:
    """The message says how to get one."""
    with pytest.raises(ValueError, match="mull up"):
        Fleet(PolicySettings(model="small"))


async def test_a_client_that_was_never_used_can_be_closed() -> None:
    """It has not opened anything; it may have been made outside an event loop."""
    await Fleet(settings("http://engine")).aclose()


async def test_a_url_with_a_path_keeps_it(fake: FakeVllm, asks: Callable[..., Fleet]) -> None:
    """An engine may live behind a proxy, under a prefix."""
    fake.replies["/policy/v1/models"] = lambda _: web.json_response({"data": []})
    await asks(f"{fake.url}/policy/").get("/v1/models")
    assert [path for path, _ in fake.asked] == ["/policy/v1/models"]


async def test_the_context_length_of_an_adapter_is_its_parents(fake: FakeVllm, asks: Callable[..., Fleet]) -> None:
    """VLLM tells it for base models only."""
    cards = [{"id": "base", "max_model_len": 99}, {"id": "small", "parent": "base", "max_model_len": None}]
    fake.replies["/v1/models"] = lambda _: web.json_response({"data": cards})
    assert await asks(fake.url).context_length() == 99


async def test_an_idle_connection_that_the_engine_closed_is_no_failure(
    serves: Callable[[Handler], Awaitable[str]], asks: Callable[..., Fleet]
) -> None:
    """The request that meets it is sent once more, on a new connection."""
    connections: list[int] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        await request_line(reader)
        writer.write(answer("{}"))
        await request_line(reader)  # the second one on this connection is heard, and not answered
        writer.close()

    engine = asks(await serves(once))
    await engine.post("/tokenize", {})
    await engine.post("/tokenize", {})
    assert len(connections) == 2


async def test_a_new_connection_that_is_closed_is_not_tried_again(
    serves: Callable[[Handler], Awaitable[str]], asks: Callable[..., Fleet]
) -> None:
    """The engine has seen the request, and may be writing: a generation is never asked for twice."""
    requests: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await request_line(reader))
        writer.close()

    stream = asks(await serves(refuse)).stream("/v1/completions", {}, request_id="r")
    with pytest.raises(EngineUnavailable):
        await stream.event()
    await stream.aclose()
    assert len(requests) == 1


class Silent:
    """An engine that takes a request and says nothing for `seconds`; of its health it says `health`, or nothing."""

    def __init__(self, seconds: float, health: str | None) -> None:
        self.seconds = seconds
        self.health = health
        self.checks = 0
        self.left = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "/health" in await request_line(reader):
            self.checks += 1
            if self.health is None:
                await reader.read()
            elif self.health:
                writer.write(f"HTTP/1.1 {self.health}\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            await asyncio.wait({asyncio.ensure_future(self._gone(reader))}, timeout=self.seconds)
            writer.write(answer('{"late": true}'))
        writer.close()

    async def _gone(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.left.set()


@pytest.mark.parametrize("health", ["", "503 Service Unavailable"])
async def test_an_engine_that_went_away_silently_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    serves: Callable[[Handler], Awaitable[str]],
    asks: Callable[..., Fleet],
    health: str,
) -> None:
    """A vLLM server that is shutting down leaves open connections without a word."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.05)
    with pytest.raises(EngineUnavailable):
        await asyncio.wait_for(asks(await serves(Silent(30, health))).post("/v1/completions", {}), 10)


async def test_an_engine_that_is_only_slow_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, serves: Callable[[Handler], Awaitable[str]], asks: Callable[..., Fleet]
) -> None:
    """Silence alone is no failure until the limit, not even where there is no word of health."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.4)
    engines = [Silent(1.0, health) for health in (None, "200 OK", "404 Not Found")]
    clients = [asks(await serves(engine)) for engine in engines]
    late = {"late": True}
    assert await asyncio.gather(*(client.post("/v1/completions", {}) for client in clients)) == [late, late, late]
    assert all(engine.checks > 0 for engine in engines)


async def test_many_that_wait_ask_together(
    monkeypatch: pytest.MonkeyPatch, serves: Callable[[Handler], Awaitable[str]], asks: Callable[..., Fleet]
) -> None:
    """One question about an engine's health serves all of its requests."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.4)
    silent = Silent(0.6, "200 OK")
    engine = asks(await serves(silent))
    await asyncio.gather(*(engine.post("/v1/completions", {}) for _ in range(20)))
    assert 0 < silent.checks < 5


async def test_a_stream_that_falls_silent_for_good_is_noticed(
    monkeypatch: pytest.MonkeyPatch, fake: FakeVllm, asks: Callable[..., Fleet]
) -> None:
    """What has come before is told."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.05)
    fake.replies["/v1/completions"] = lambda _: Events([b"one"], then="hold")
    stream = asks(fake.url).stream("/v1/completions", {}, request_id="r")
    assert await stream.event() == b"one"
    fake.replies["/health"] = lambda _: web.Response(status=503)
    with pytest.raises(EngineUnavailable):
        await asyncio.wait_for(stream.event(), 10)
    await stream.aclose()


async def test_an_engine_that_lives_and_says_nothing_runs_into_the_limit(
    fake: FakeVllm, asks: Callable[..., Fleet]
) -> None:
    """`timeout_s` is the longest silence, of a stream and of a plain request."""
    fake.replies["/v1/completions"] = lambda _: Events([b"one"], then="hold")
    engine = asks(fake.url, timeout_s=1)
    stream = engine.stream("/v1/completions", {}, request_id="r")
    plain = asyncio.create_task(engine.post("/v1/completions", {}, request_id="s"))
    assert await stream.event() == b"one"
    with pytest.raises(EngineTimeout):
        await stream.event()
    with pytest.raises(EngineTimeout):
        await plain
    await stream.aclose()


async def test_a_reader_who_takes_his_time_is_no_silence(fake: FakeVllm, asks: Callable[..., Fleet]) -> None:
    """Events that wait to be read are not the engine's fault."""
    fake.replies["/v1/completions"] = lambda _: Events([b"one", b"two"])
    stream = asks(fake.url, timeout_s=0.5).stream("/v1/completions", {}, request_id="r")
    assert await stream.event() == b"one"
    await asyncio.sleep(1.1)
    assert await stream.event() == b"two"
    await stream.aclose()


async def test_giving_up_a_request_gives_up_its_work(
    serves: Callable[[Handler], Awaitable[str]], asks: Callable[..., Fleet]
) -> None:
    """Cancelling the caller closes the connection."""
    silent = Silent(30, "200 OK")
    task = asyncio.create_task(asks(await serves(silent)).get("/v1/models"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(silent.left.wait(), 10)

import asyncio

import httpx
import pytest
from fake_vllm import FakeVllm

from service.engines import pulse
from service.engines.http import EngineHttp, engine_client
from service.errors import EngineError, EngineTimeout, EngineUnavailable, MullError, QuestionTooLong
from service.settings import PolicySettings

TOO_LONG = {"error": {"message": "This model's maximum context length is 512 tokens. However, …", "code": 400}}


def settings(**more: object) -> PolicySettings:
    return PolicySettings.model_validate({"model": "small", "url": "http://engine", **more})


def asks(handler: httpx.AsyncBaseTransport) -> EngineHttp:
    return EngineHttp("policy", settings(), engine_client(settings(), handler))


@pytest.mark.parametrize(
    ("response", "expected", "words"),
    [
        (httpx.Response(400, json={"error": {"message": "bad ids"}}), EngineError, "bad ids"),
        (httpx.Response(400, json=TOO_LONG), QuestionTooLong, "512"),
        (httpx.Response(401, json={"error": "Unauthorized"}), EngineError, "api_key_env"),
        (httpx.Response(403), EngineError, "api_key_env"),
        (httpx.Response(404, json={"error": {"message": "no `small`"}}), EngineError, "served_name 'small'"),
        (httpx.Response(404, text="<html>"), EngineError, "without /v1"),
        (httpx.Response(429), EngineUnavailable, "429"),
        (httpx.Response(500, json={"error": {"message": "EngineCore"}}), EngineError, "EngineCore"),
        (httpx.Response(503, json={"error": {"message": "queue full"}}), EngineUnavailable, "503"),
        (httpx.Response(200, text="<html>hello</html>"), EngineError, "JSON"),
        (httpx.Response(200, json=[1]), EngineError, "JSON"),
    ],
)
async def test_what_cannot_be_used_becomes_an_error_of_ours(
    response: httpx.Response, expected: type[MullError], words: str
) -> None:
    """Each status has its class, and says whose fault it is and what to do."""
    with pytest.raises(expected) as caught:
        await asks(httpx.MockTransport(lambda _: response)).post("/tokenize", {})
    assert type(caught.value) is expected
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert "policy 'small'" in caught.value.message


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("refused"), EngineUnavailable),
        (httpx.ConnectTimeout("no route"), EngineUnavailable),
        (httpx.ReadTimeout("silent"), EngineTimeout),
        (httpx.ReadError("reset"), EngineUnavailable),
        (httpx.RemoteProtocolError("closed"), EngineUnavailable),
        (httpx.UnsupportedProtocol("ftp"), EngineError),
    ],
)
async def test_what_the_network_does_becomes_an_error_of_ours(
    failure: httpx.HTTPError, expected: type[MullError]
) -> None:
    """A plain request and a stream translate alike."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise failure

    engine = asks(httpx.MockTransport(fail))
    with pytest.raises(expected) as of_post:
        await engine.post("/v1/completions", {})
    with pytest.raises(expected) as of_stream:
        async with engine.stream("/v1/completions", {}):
            pass
    assert type(of_post.value) is type(of_stream.value) is expected


async def test_an_engines_long_complaint_is_cut() -> None:
    """An error that repeats its input must not fill the logs."""
    response = httpx.Response(500, json={"error": {"message": "input " * 1000}})
    with pytest.raises(EngineError) as caught:
        await asks(httpx.MockTransport(lambda _: response)).get("/v1/models")
    assert len(caught.value.message) < 400


async def test_the_api_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read from the variable that the configuration names."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={})

    monkeypatch.setenv("ENGINE_KEY", "s3cret")
    locked = settings(api_key_env="ENGINE_KEY")
    await EngineHttp("policy", locked, engine_client(locked, httpx.MockTransport(answer))).get("/")
    assert seen == ["Bearer s3cret"]


def test_an_engine_without_url_has_no_client() -> None:
    """The message says how to get one."""
    with pytest.raises(ValueError, match="mull up"):
        engine_client(PolicySettings(model="small"))


async def test_a_url_with_a_path_keeps_it() -> None:
    """An engine may live behind a proxy, under a prefix."""
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={})

    prefixed = settings(url="http://engine/policy/")
    await EngineHttp("policy", prefixed, engine_client(prefixed, httpx.MockTransport(answer))).get("/v1/models")
    assert paths == ["/policy/v1/models"]


async def test_the_context_length_of_an_adapter_is_its_parents() -> None:
    """VLLM tells it for base models only."""
    fake = FakeVllm(name="small")
    cards = [{"id": "base", "max_model_len": 99}, {"id": "small", "parent": "base", "max_model_len": None}]
    fake.replies["/v1/models"] = lambda _: httpx.Response(200, json={"data": cards})
    assert await asks(fake.transport()).context_length() == 99


class Silent(httpx.AsyncBaseTransport):
    """An engine that takes a request and says nothing for `seconds`; its health is what `health` returns or raises."""

    def __init__(self, seconds: float, health: httpx.Response | httpx.HTTPError) -> None:
        self.seconds = seconds
        self.health = health
        self.checks = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            self.checks += 1
            if isinstance(self.health, httpx.HTTPError):
                raise self.health
            return self.health
        await asyncio.sleep(self.seconds)
        return httpx.Response(200, json={"late": True})


@pytest.mark.parametrize("health", [httpx.ConnectError("refused"), httpx.Response(503)])
async def test_an_engine_that_went_away_silently_is_noticed(
    monkeypatch: pytest.MonkeyPatch, health: httpx.Response | httpx.HTTPError
) -> None:
    """A vLLM server that is shutting down leaves open connections without a word."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.02)
    with pytest.raises(EngineUnavailable):
        await asyncio.wait_for(asks(Silent(30, health)).post("/v1/completions", {}), 5)


@pytest.mark.parametrize("health", [httpx.ReadTimeout("busy"), httpx.Response(200), httpx.Response(404)])
async def test_an_engine_that_is_only_slow_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, health: httpx.Response | httpx.HTTPError
) -> None:
    """Silence alone is no failure until the read timeout."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.02)
    engine = Silent(0.2, health)
    assert await asks(engine).post("/v1/completions", {}) == {"late": True}
    assert engine.checks > 0


async def test_many_that_wait_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question about an engine's health serves all of its requests."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.1)
    engine = Silent(0.15, httpx.Response(200))
    client = asks(engine)
    await asyncio.gather(*(client.post("/v1/completions", {}) for _ in range(20)))
    assert engine.checks == 1


async def test_giving_up_a_request_gives_up_its_work() -> None:
    """Cancelling the caller cancels what it waits for."""
    cancelled = asyncio.Event()

    class Patient(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return httpx.Response(200)

    task = asyncio.create_task(asks(Patient()).get("/v1/models"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()

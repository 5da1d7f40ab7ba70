"""Traces that are asked for again, by the id of the answer."""

import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings
from served import gateway
from typer.testing import CliRunner

from service.cli import app as commands
from service.errors import UnknownTrace
from service.gateway.app import create_app
from service.library import BoxedReader, ScriptedPolicy, solve
from service.redis_link import RedisLink
from service.search.request import SearchRequest, SearchResult
from service.settings import RedisSettings
from service.trace_store import FORMAT, TraceStore

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "2 + 2 = ?"}]}
TRACED = CHAT | {"mull": {"strategy": "majority_vote", "include": ["trace"]}}


async def real_search() -> SearchResult:
    """A search with a scripted policy, and its trace."""
    policy = ScriptedPolicy(["So \\boxed{4}."] * 4)
    strategy = {"name": "majority_vote", "samples": 4}
    return await solve("2 + 2 = ?", policy=policy, reader=BoxedReader(), strategy=strategy, trace=True)


class Traced(FakeWorkers):
    """Workers whose searches leave the trace of a real one where it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: SearchResult | None = None

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Answer at once."""
        self.found = await real_search()
        return self.found if request.trace else self.found.model_copy(update={"trace": None})


@pytest.fixture
def workers() -> FakeWorkers:
    """Workers that trace."""
    return Traced()


@pytest.fixture
async def http(workers: FakeWorkers, valkey: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with a real, empty Redis."""
    config = settings(redis={"url": valkey.url, "timeout_ms": 5000})
    transport = httpx.ASGITransport(create_app(config, workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as client:
        yield client


@pytest.fixture
async def store(valkey: Any) -> AsyncIterator[TraceStore]:
    """Traces in that Redis, for a minute each."""
    config = RedisSettings.model_validate({"url": valkey.url, "timeout_ms": 5000, "trace_ttl_s": 60})
    link = RedisLink(config)
    yield TraceStore(config, link)
    await link.aclose()


async def test_trace_is_found_by_the_id_of_its_answer(http: httpx.AsyncClient) -> None:
    """It is the one that the answer brought."""
    answer = (await http.post("/v1/chat/completions", json=TRACED)).json()["mull"]
    found = (await http.get(f"/v1/traces/{answer['trace_id']}")).json()
    assert found["object"] == "mull.trace"
    assert found["id"] == answer["trace_id"]
    assert found["records"] == answer["trace"]
    assert found["records"][0]["mull_trace"] == 1


async def test_cached_answer_leaves_its_trace_under_its_own_id(http: httpx.AsyncClient) -> None:
    """A repeated request has an id of its own, and finds the trace of the search that was made."""
    first, again = [await http.post("/v1/chat/completions", json=TRACED) for _ in range(2)]
    assert again.headers["x-mull-cache"] == "hit"
    found = await http.get(f"/v1/traces/{again.headers['x-request-id']}")
    assert found.json()["records"] == first.json()["mull"]["trace"]


async def test_streamed_answer_leaves_its_trace(http: httpx.AsyncClient) -> None:
    """How the answer came makes no difference."""
    quietly = TRACED | {"stream": True, "mull": TRACED["mull"] | {"progress": "none"}}
    streamed = await http.post("/v1/chat/completions", json=quietly)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert (await http.get(f"/v1/traces/{streamed.headers['x-request-id']}")).status_code == 200


async def test_nothing_is_kept_that_was_not_asked_for(http: httpx.AsyncClient) -> None:
    """A search without `include` leaves no trace."""
    answer = await http.post("/v1/chat/completions", json=CHAT | {"mull": {"strategy": "majority_vote"}})
    missing = await http.get(f"/v1/traces/{answer.headers['x-request-id']}")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "UnknownTrace"
    assert "include" in missing.json()["error"]["message"]


@pytest.mark.parametrize("trace_id", ["a%20b", "%00", "x" * 129, "a:b", "½"])
async def test_what_is_no_id_is_no_trace(http: httpx.AsyncClient, trace_id: str) -> None:
    """An id that no request can have is a 404 too."""
    assert (await http.get(f"/v1/traces/{trace_id}")).status_code == 404


async def test_trace_belongs_to_the_key_that_asked(store: TraceStore) -> None:
    """Another key's client, and one without a key, do not find it."""
    await store.put("run-7", [{"at": 1}], caller="ann")
    assert await store.get("run-7", caller="ann") == [{"at": 1}]
    for other in ("bo", None):
        with pytest.raises(UnknownTrace, match="no trace 'run-7'"):
            await store.get("run-7", caller=other)


async def test_traces_do_not_stay_for_ever(store: TraceStore, valkey: Any) -> None:
    """Each has the lifetime of the settings."""
    await store.put("run-7", [{"at": 1}])
    with valkey.client() as redis:
        (key,) = redis.keys()
        assert 0 < redis.ttl(key) <= 60


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        zlib.compress(b'[{"at": 1}]'),
        FORMAT.replace(b"1", b"0") + zlib.compress(b'[{"at": 1}]'),
        FORMAT + zlib.compress(b'[{"at": 1}]')[:-3],
        FORMAT + zlib.compress(b"no JSON"),
        FORMAT + zlib.compress(b"{}"),
    ],
)
async def test_what_another_version_has_kept_is_no_trace(store: TraceStore, valkey: Any, value: bytes) -> None:
    """Nor is what was cut short: neither is a failure of ours."""
    await store.put("run-7", [{"at": 1}])
    with valkey.client() as redis:
        redis.set(redis.keys()[0], value)
    with pytest.raises(UnknownTrace):
        await store.get("run-7")


async def test_redis_that_is_down_is_a_503(workers: FakeWorkers) -> None:
    """Where nobody can tell whether there is a trace, the answer is to come back."""
    config = settings(redis={"url": "redis://127.0.0.1:1", "timeout_ms": 100})
    transport = httpx.ASGITransport(create_app(config, workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        assert (await http.post("/v1/chat/completions", json=TRACED)).status_code == 200
        response = await http.get("/v1/traces/run-7")
    assert response.status_code == 503
    assert response.headers["retry-after"]


def test_replay_draws_what_a_gateway_has_kept(workers: FakeWorkers, valkey: Any) -> None:
    """`mull replay ID` asks the gateway and searches again as it was searched."""
    config = settings(redis={"url": valkey.url, "timeout_ms": 5000})
    with gateway(config, workers) as port:
        url = f"http://127.0.0.1:{port}"
        answer = httpx.post(f"{url}/v1/chat/completions", json=TRACED).json()
        drawn = CliRunner().invoke(commands, ["replay", answer["mull"]["trace_id"], "--url", url, "--json"])
        missing = CliRunner().invoke(commands, ["replay", "nothing", "--url", url])
    assert drawn.exit_code == 0, drawn.output
    assert SearchResult.model_validate_json(drawn.stdout).choices[0].answer == "4"
    assert missing.exit_code != 0
    assert "no trace 'nothing'" in missing.stderr

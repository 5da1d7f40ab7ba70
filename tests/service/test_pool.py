"""Samples in Redis, against real servers: what was kept comes back, the furthest stays, nothing else is believed."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from json import dumps
from typing import Any
from zlib import compress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from service import pool as pool_side
from service.pool import CandidatePools, RedisPool
from service.redis_link import RedisLink
from service.search.pooling import End, Kept
from service.search.ports import Bill
from service.search.request import SearchRequest
from service.search.trace import Grown
from service.settings import Settings
from strategies.protocol import Answer

ASKED: dict[str, Any] = {"model": "m", "prompt": "1 + 1?", "strategy": {"name": "majority_vote", "samples": 4}}


def settings(url: str | None, **redis: Any) -> Settings:
    """One model, and the Redis at `url`."""
    return Settings.model_validate(
        {
            "policies": {"p": {"model": "some/policy"}},
            "models": {"m": {"policy": "p"}},
            "redis": {"url": url, "timeout_ms": 2000, **redis},
        }
    )


def request(**changes: Any) -> SearchRequest:
    """A search of one question, but for `changes`."""
    return SearchRequest.model_validate(ASKED | changes)


def sample(index: int, tokens: int, *, end: bool = False) -> Kept:
    """So many tokens of a sample."""
    text, ids = "word " * tokens, tuple(range(1000, 1000 + tokens))
    grown = Grown(0.0, (index,), text, ids, "stop" if end else None, Bill(7, None, tokens, exact=True), past=True)
    return Kept((grown,), End("stop", Answer("½", "1/2"), None) if end else None)


UNREACHABLE = settings("redis://127.0.0.1:1")
NOWHERE = CandidatePools(UNREACHABLE, RedisLink(UNREACHABLE.redis))
"""For what asks no server."""


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    """The server, seen from beside."""
    async with Redis.from_url(redis_server.url) as redis:
        yield redis


@pytest.fixture
async def pools(redis_server: Any) -> AsyncIterator[CandidatePools]:
    """The pools of a worker."""
    asked = settings(redis_server.url)
    link = RedisLink(asked.redis)
    yield CandidatePools(asked, link)
    await link.aclose()


def pool(pools: CandidatePools, **changes: Any) -> RedisPool:
    """The pool of a question that has one."""
    found = pools.of(request(**changes))
    assert found is not None
    return found


async def known(pools: CandidatePools, samples: int = 4, **changes: Any) -> list[Kept | None]:
    """What another search is told of the first samples."""
    await pools.aclose()
    found = pool(pools, **changes)
    await found.open(samples)
    return [found.get(index) for index in range(samples)]


async def test_a_sample_comes_back_as_it_was(pools: CandidatePools) -> None:
    """Ended or not; what has not been kept is not known."""
    kept = [sample(0, 5, end=True), sample(1, 3)]
    for index, one in enumerate(kept):
        pool(pools).put(index, one)
    assert await known(pools) == [*kept, None, None]


async def test_only_so_many_are_read_as_are_wanted(pools: CandidatePools) -> None:
    """A search of two is told of two."""
    for index in range(40):
        pool(pools).put(index, sample(index, 2))
    assert await known(pools, 40) == [sample(index, 2) for index in range(40)]
    found = pool(pools)
    await found.open(2)
    assert found.get(2) is None


@pytest.mark.parametrize(
    ("held", "comes", "stays"),
    [
        (sample(0, 3), sample(0, 5), sample(0, 5)),
        (sample(0, 11), sample(0, 5), sample(0, 11)),
        (sample(0, 9), sample(0, 5, end=True), sample(0, 5, end=True)),
        (sample(0, 5, end=True), sample(0, 9), sample(0, 5, end=True)),
        (sample(0, 5, end=True), sample(0, 5), sample(0, 5, end=True)),
    ],
)
async def test_the_furthest_stays(pools: CandidatePools, held: Kept, comes: Kept, stays: Kept) -> None:
    """An ended sample is further than one that has not ended, and the longer of two such."""
    pool(pools).put(0, held)
    await pools.aclose()
    pool(pools).put(0, comes)
    assert await known(pools, 1) == [stays]


async def test_what_is_put_twice_is_written_once(pools: CandidatePools) -> None:
    """The last counts, while the first has not been written."""
    for tokens in (3, 1, 2):
        pool(pools).put(0, sample(0, tokens))
    assert await known(pools, 1) == [sample(0, 2)]


async def test_a_question_is_let_go_after_its_time(redis_server: Any, redis: Redis) -> None:
    """All its samples, `redis.ttl_s` after the last of them was written."""
    asked = settings(redis_server.url, ttl_s=60)
    pools = CandidatePools(asked, link := RedisLink(asked.redis))
    pool(pools).put(0, sample(0, 2))
    await pools.aclose()
    assert [0 < await redis.ttl(name) <= 60 for name in await redis.keys()] == [True]
    await link.aclose()


async def test_what_is_too_long_is_not_kept(pools: CandidatePools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours are."""
    monkeypatch.setattr(pool_side, "MOST_BYTES", 400)
    pool(pools).put(0, sample(0, 2))
    pool(pools).put(1, sample(1, 2000))
    assert await known(pools, 2) == [sample(0, 2), None]


async def test_what_waits_to_be_written_does_not_pile_up(
    pools: CandidatePools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than a few the oldest are let go, also while others are being written."""
    monkeypatch.setattr(pool_side, "MOST_UNWRITTEN", 3)
    for index in range(5):
        pool(pools).put(index, sample(index, 2))
    await asyncio.sleep(0)
    for index in range(5, 8):
        pool(pools).put(index, sample(index, 2))
    assert len(pools._unwritten) == 3
    assert [index for index, kept in enumerate(await known(pools, 8)) if kept is not None] == [2, 5, 6, 7]


@pytest.mark.parametrize("junk", [b"", b"{}", b"mull/0/0.0.0\n1", b"\xff" * 40])
async def test_what_is_no_sample_is_not_known(pools: CandidatePools, redis: Redis, junk: bytes) -> None:
    """Another version's, or anybody's: it is written anew, and read then."""
    pool(pools).put(0, sample(0, 2))
    await pools.aclose()
    [name] = await redis.keys()
    await redis.hset(name, "0", junk)
    assert await known(pools, 1) == [None]
    pool(pools).put(0, sample(0, 1))
    assert await known(pools, 1) == [sample(0, 1)]


async def test_another_format_is_not_known(pools: CandidatePools) -> None:
    """Nor one that was cut off, nor the sample of another place."""
    pool(pools).put(0, sample(0, 5, end=True))
    await pools.aclose()
    found = pool(pools)
    await found.open(1)
    whole = found._values[0]
    for value in (whole.replace(b"mull/1/", b"mull/0/"), whole[:-5], whole[:20], whole.decode("latin-1"), None):
        found._values = [value]
        assert found.get(0) is None
    found._values = [None, whole]
    assert found.get(1) is None


PLAIN = st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
NEARLY = st.fixed_dictionaries(
    {"requests": PLAIN | st.lists(st.fixed_dictionaries({"node": st.just([0]), "text": PLAIN})), "end": PLAIN}
)


@given(st.binary(max_size=60) | st.builds(lambda value: b"0" * 12 + compress(dumps(value).encode()), PLAIN | NEARLY))
def test_no_bytes_do_harm(junk: bytes) -> None:
    """Behind the right tag either."""
    found = RedisPool(NOWHERE, "", reads=True)
    found._values = [NOWHERE.tag + junk]
    assert found.get(0) is None


async def test_a_value_of_another_kind_does_no_harm(pools: CandidatePools, redis: Redis) -> None:
    """Somebody else's list under our key."""
    pool(pools).put(0, sample(0, 2))
    await pools.aclose()
    [name] = await redis.keys()
    await redis.delete(name)
    await redis.rpush(name, "0.5")
    pool(pools).put(0, sample(0, 2))
    assert await known(pools, 1) == [None]


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": {"name": "best_of_n", "samples": 64}},
        {"strategy": {"name": "sample"}},
        {"score": {"select": "best"}, "strategy": {"name": "best_of_n"}},
        {"n": 2, "budget": {"policy_tokens": 100, "deadline_ms": 5}, "trace": True, "memory": "renew"},
        {"max_completion_tokens": 512},
    ],
)
def test_how_many_and_what_for_is_no_part_of_the_key(changes: dict[str, Any]) -> None:
    """Another strategy goes on from the same samples; the policy's own cap may be said."""
    assert pool(NOWHERE, **changes)._key == pool(NOWHERE)._key


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "1 + 2?"},
        {"prompt": None, "messages": [{"role": "user", "content": "1 + 1?"}]},
        {"seed": 1},
        {"sampling": {"temperature": 0.5}},
        {"sampling": {"stop": ["x"]}},
        {"chat_template_kwargs": {"thinking": True}},
        {"max_completion_tokens": 100},
        {"answer": {"kind": "number"}},
        {"constraint": {"form": "json_object"}},
        {"strategy": {"name": "best_of_n"}, "score": {"source": "mean_logprob"}},
    ],
)
def test_what_decides_the_text_or_its_reading_is(changes: dict[str, Any]) -> None:
    """Each of these has a pool of its own."""
    assert pool(NOWHERE, **changes)._key != pool(NOWHERE)._key


def test_another_policy_has_another_pool() -> None:
    """Its revision is part of the key."""
    policies = {"p": UNREACHABLE.policies["p"].model_copy(update={"revision": "2"})}
    other = CandidatePools(UNREACHABLE.model_copy(update={"policies": policies}), NOWHERE.link)
    assert pool(other)._key != pool(NOWHERE)._key


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": "none"},
        {"logprobs": 0},
        {"strategy": {"name": "greedy"}},
        {"strategy": {"name": "beam_search"}},
    ],
)
def test_some_searches_have_no_pool(changes: dict[str, Any]) -> None:
    """Those that want none, and those whose candidates are no whole samples."""
    assert NOWHERE.of(request(**changes)) is None


def test_without_redis_there_is_no_pool() -> None:
    """Where it is not configured."""
    asked = settings(None)
    assert CandidatePools(asked, RedisLink(asked.redis)).of(request()) is None


async def test_who_wants_it_afresh_is_told_nothing_and_adds(pools: CandidatePools) -> None:
    """`memory: renew`."""
    pool(pools).put(0, sample(0, 2))
    assert await known(pools, 1, memory="renew") == [None]
    pool(pools, memory="renew").put(1, sample(1, 2))
    assert await known(pools, 2) == [sample(0, 2), sample(1, 2)]


async def test_a_server_that_is_gone_holds_nothing_up() -> None:
    """Nothing is known, nothing is kept, and closing ends at once."""
    pools = CandidatePools(UNREACHABLE, link := RedisLink(UNREACHABLE.redis))
    pool(pools).put(0, sample(0, 2))
    async with asyncio.timeout(5):
        assert await known(pools, 2) == [None, None]
    await link.aclose()


async def test_writing_is_no_part_of_the_request(pools: CandidatePools) -> None:
    """What a request may wait for Redis is not spent by what is written behind its back."""
    variable, seen = contextvars.ContextVar[str]("variable"), list[bool]()
    variable.set("of the request")
    ask = pools.link.ask

    async def asks(command: Any) -> tuple[bool, Any]:
        seen.append(variable in contextvars.copy_context())
        return await ask(command)

    pools.link.ask = asks  # type: ignore[method-assign]
    pool(pools).put(0, sample(0, 2))
    await pools.aclose()
    assert seen == [False]

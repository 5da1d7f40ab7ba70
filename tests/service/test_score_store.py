"""Scores in Redis, against a real server: what was kept comes back exactly, and nothing else is believed."""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from service.redis_link import RedisLink
from service.score_store import RedisScores, _score
from service.search.memo import ScoreMemo, score_key
from service.settings import RedisSettings

KEYS = [score_key("1 + 1?", ("one", "two")[:end]) for end in (1, 2)]


def link(url: str, timeout_ms: int = 500) -> RedisLink:
    """A way to the server at `url`."""
    return RedisLink(RedisSettings.model_validate({"url": url, "timeout_ms": timeout_ms}))


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    """The server, empty, seen from beside."""
    async with Redis.from_url(redis_server.url) as redis:
        yield redis


@pytest.fixture
async def way(redis_server: Any) -> AsyncIterator[RedisLink]:
    """A link that is closed in the end."""
    way = link(redis_server.url)
    yield way
    await way.aclose()


async def written(redis: Redis, count: int) -> None:
    """Wait until the server holds `count` scores."""
    for _ in range(1000):
        if await redis.dbsize() == count:
            return
        await asyncio.sleep(0.005)
    pytest.fail("the scores were not written")


async def test_a_score_comes_back_to_the_last_bit(way: RedisLink, redis: Redis) -> None:
    """To another worker too; what is not there is not told."""
    RedisScores(way, "prm", 60).put({KEYS[0]: 0.1 + 0.2})
    await written(redis, 1)
    assert await RedisScores(way, "prm", 60).get(KEYS) == {KEYS[0]: 0.1 + 0.2}


async def test_scores_are_let_go_after_their_time(way: RedisLink, redis: Redis) -> None:
    """All of those that were written together."""
    RedisScores(way, "prm", 60).put(dict.fromkeys(KEYS, 0.5))
    await written(redis, 2)
    assert [0 < await redis.ttl(name) <= 60 for name in await redis.keys()] == [True, True]


async def test_another_model_has_scores_of_its_own(way: RedisLink, redis: Redis) -> None:
    """Its name is part of each key."""
    RedisScores(way, "prm", 60).put({KEYS[0]: 0.5})
    await written(redis, 1)
    assert await RedisScores(way, "other", 60).get(KEYS) == {}


async def test_what_is_put_during_a_write_is_written_too(way: RedisLink, redis: Redis) -> None:
    """A hundred scores at once, one by one."""
    store = RedisScores(way, "prm", 60)
    many = {score_key("?", (str(number),)): number / 100 for number in range(100)}
    for key, score in many.items():
        store.put({key: score})
        await asyncio.sleep(0)
    await written(redis, 100)
    assert await store.get(list(many)) == many


@pytest.mark.parametrize(
    "value", [b"", b"nan", b"inf", b"-0.1", b"1.5", b"0.50", b" 0.5", b"1", b"0x1p-1", b"half", struct.pack("<d", 0.5)]
)
async def test_what_is_no_score_is_not_known(way: RedisLink, redis: Redis, value: bytes) -> None:
    """Only what was written here is read: anything else is asked for anew."""
    store = RedisScores(way, "prm", 60)
    store.put({KEYS[0]: 0.5})
    await written(redis, 1)
    await redis.set((await redis.keys())[0], value)
    assert await store.get(KEYS) == {}


@given(st.floats(0, 1))
def test_every_score_is_written_exactly(score: float) -> None:
    """And 0 and 1 are scores."""
    assert _score(repr(score).encode()) == score


async def test_a_value_of_another_kind_does_no_harm(way: RedisLink, redis: Redis) -> None:
    """Somebody else's list under our key."""
    store = RedisScores(way, "prm", 60)
    store.put({KEYS[0]: 0.5})
    await written(redis, 1)
    name = (await redis.keys())[0]
    await redis.delete(name)
    await redis.rpush(name, "0.5")
    assert await store.get(KEYS) == {}


async def test_without_redis_the_memory_remembers_all_the_same() -> None:
    """A server that is gone costs a moment, and then nothing."""
    way = link("redis://127.0.0.1:1")
    memo = ScoreMemo(store=RedisScores(way, "prm", 60))
    for _ in range(4):
        assert await memo.recall(KEYS) == {}
    assert way.state == "down"
    with memo.claim(KEYS[:1]) as claim:
        claim.scores = {KEYS[0]: 0.5}
    assert await memo.recall(KEYS) == {KEYS[0]: 0.5}
    await way.aclose()


async def test_a_silent_server_is_not_waited_for() -> None:
    """Neither by a look-up nor by what is written."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    way = link(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}", timeout_ms=20)
    store = RedisScores(way, "prm", 60)
    store.put({KEYS[0]: 0.5})
    async with asyncio.timeout(5):
        assert await store.get(KEYS) == {}
    await way.aclose()
    listening.close()

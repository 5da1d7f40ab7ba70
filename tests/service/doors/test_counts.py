import asyncio
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from service.doors.counts import DAY_S, MINUTE_S, Counts, LocalCounts
from service.doors.keys import Key, Quota
from service.doors.shared_counts import SharedCounts
from service.redis_link import RedisLink
from service.settings import RedisSettings


@pytest.fixture
async def link(redis_server: Any) -> AsyncIterator[RedisLink]:
    """The way to an empty server."""
    made = linked(redis_server.url)
    yield made
    await made.aclose()


@pytest.fixture(params=["local", "shared"])
def counts(request: pytest.FixtureRequest, link: RedisLink) -> Counts:
    """Both ways of counting: they say the same."""
    return SharedCounts(link) if request.param == "shared" else LocalCounts()


def linked(url: str) -> RedisLink:
    return RedisLink(RedisSettings.model_validate({"url": url, "timeout_ms": 10_000}))


def key(name: str = "alice", **quota: int) -> Key:
    """A key that may use so much."""
    return Key(name=name, sha256="0" * 64, created=datetime.now(UTC), quota=Quota(**quota))


async def test_requests_are_counted(counts: Counts) -> None:
    """So many in a minute, and what is refused takes nothing."""
    limited = key(requests_per_minute=2)
    for expected in (1, 2):
        standing = await counts.take(limited, f"t{expected}", 10, 5)
        assert standing is not None
        assert (standing.requests, standing.refused) == (expected, None)
    for _ in range(2):
        standing = await counts.take(limited, "t9", 10, 5)
        assert standing is not None
        assert (standing.requests, standing.refused, standing.claim) == (2, "requests", None)
        assert (standing.tokens, standing.searches) == (20, 2)


async def test_tokens_are_set_aside_and_given_back(counts: Counts) -> None:
    """A price is paid at first, and what was not spent of it comes back."""
    limited = key(tokens_per_day=100)
    first = await counts.take(limited, "t1", 80, 5)
    assert first is not None
    assert first.claim is not None
    refused = await counts.take(limited, "t2", 30, 5)
    assert refused is not None
    assert (refused.refused, refused.tokens) == ("tokens", 80)
    await counts.give_back(first.claim, 70)
    again = await counts.take(limited, "t3", 30, 5)
    assert again is not None
    assert (again.refused, again.tokens) == (None, 100)


async def test_more_may_be_spent_than_was_set_aside(counts: Counts) -> None:
    """What a search has cost beyond its price is counted."""
    limited = key(tokens_per_day=100)
    first = await counts.take(limited, "t1", 10, 5)
    assert first is not None
    assert first.claim is not None
    await counts.give_back(first.claim, 95)
    second = await counts.take(limited, "t2", 10, 5)
    assert second is not None
    assert (second.refused, second.tokens) == ("tokens", 95)


async def test_searches_in_flight_are_counted(counts: Counts) -> None:
    """A place is free again when its search has ended."""
    limited = key(searches=2)
    standings = [await counts.take(limited, f"t{i}", 1, 5) for i in range(3)]
    assert [s.refused for s in standings if s is not None] == [None, None, "searches"]
    assert standings[0] is not None
    assert standings[0].claim is not None
    await counts.give_back(standings[0].claim, 1)
    freed = await counts.take(limited, "t4", 1, 5)
    assert freed is not None
    assert (freed.refused, freed.searches) == (None, 2)


async def test_keys_do_not_share(counts: Counts) -> None:
    """What one key has used is no other's."""
    assert await counts.take(key(searches=1), "t1", 1, 5) is not None
    other = await counts.take(key("bob", searches=1), "t2", 1, 5)
    assert other is not None
    assert (other.refused, other.requests) == (None, 1)


async def test_zero_is_a_limit(counts: Counts) -> None:
    """A key may be allowed nothing at all."""
    standing = await counts.take(key(requests_per_minute=0), "t1", 1, 5)
    assert standing is not None
    assert standing.refused == "requests"


async def test_gateways_share_one_count(redis_server: Any, link: RedisLink) -> None:
    """Of many that ask at once at two gateways, exactly as many come in as may."""
    other = linked(redis_server.url)
    limited = key(requests_per_minute=30, tokens_per_day=250, searches=40)
    both = [SharedCounts(link), SharedCounts(other)]
    standings = await asyncio.gather(*(both[i % 2].take(limited, f"t{i}", 10, 5) for i in range(100)))
    assert [s.refused for s in standings if s is not None].count(None) == 25
    await other.aclose()


async def test_place_of_a_lost_gateway_runs_out(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that nobody gives back is a lease."""
    monkeypatch.setattr("service.doors.shared_counts.LONGEST_LEFT_S", 0)
    shared, limited = SharedCounts(link), key(searches=1)
    assert await shared.take(limited, "t1", 1, 0.05) is not None
    await asyncio.sleep(0.06)
    later = await shared.take(limited, "t2", 1, 5)
    assert later is not None
    assert (later.refused, later.searches) == (None, 1)


async def test_counts_in_redis_do_not_stay(redis_server: Any, link: RedisLink) -> None:
    """All that is kept of a key has an end, and its name is the only thing that is told of it."""
    await SharedCounts(link).take(key(), "t1", 1, 5)
    async with Redis.from_url(redis_server.url) as redis:
        names = await redis.keys("*")
        assert len(names) == 3
        assert all(name.startswith(b"mull:door:{alice}:") for name in names)
        assert all([await redis.ttl(name) > 0 for name in names])


async def test_giving_back_after_redis_forgot(redis_server: Any, link: RedisLink) -> None:
    """A server that has lost its counts is not left with less than nothing."""
    shared, limited = SharedCounts(link), key(tokens_per_day=10)
    first = await shared.take(limited, "t1", 10, 5)
    assert first is not None
    assert first.claim is not None
    async with Redis.from_url(redis_server.url) as redis:
        await redis.flushall()
    await shared.give_back(first.claim, 0)
    assert (await shared.take(limited, "t2", 11, 5)).refused == "tokens"  # type: ignore[union-attr]


async def test_what_comes_too_late_takes_nothing(own_server: Any) -> None:
    """A place that a hung server gives when its gateway has given up would be held until its lease runs out."""
    way = RedisLink(RedisSettings.model_validate({"url": own_server.url, "timeout_ms": 1000}))
    shared, limited = SharedCounts(way), key(searches=1, tokens_per_day=10)
    first = await shared.take(limited, "t1", 10, 5)
    assert first is not None
    assert first.claim is not None
    await shared.give_back(first.claim, 0)
    own_server.process.send_signal(signal.SIGSTOP)
    assert await shared.take(limited, "t2", 10, 5) is None
    await asyncio.sleep(0.1)
    own_server.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(0.1)
    third = await shared.take(limited, "t3", 10, 5)
    assert third is not None
    assert (third.refused, third.searches, third.tokens) == (None, 1, 10)
    await way.aclose()


async def test_clocks_that_were_set_do_no_lasting_harm(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request is counted by its gateway alone; then the difference is known again."""
    shared, limited, past = SharedCounts(link), key(), time.time() - 3600
    assert await shared.take(limited, "t1", 1, 5) is not None
    monkeypatch.setattr("service.doors.shared_counts.time", SimpleNamespace(time=lambda: past))
    assert await shared.take(limited, "t2", 1, 5) is None
    again = await shared.take(limited, "t3", 1, 5)
    assert again is not None
    assert again.searches == 2


async def test_minute_and_day_begin_anew() -> None:
    """Requests count by the minute and tokens by the day; a search that ends tomorrow is settled today."""
    now = 10 * DAY_S - 1.0
    local = LocalCounts(lambda: now)
    limited = key(requests_per_minute=1, tokens_per_day=100)
    first = await local.take(limited, "t1", 100, 300)
    assert first.claim is not None
    assert (first.minute_left_s, first.day_left_s) == (1.0, 1.0)
    assert (await local.take(limited, "t2", 1, 5)).refused == "requests"
    now += 1
    second = await local.take(limited, "t3", 60, 5)
    assert (second.refused, second.requests, second.tokens) == (None, 1, 60)
    await local.give_back(first.claim, 0)
    now += MINUTE_S
    assert (await local.take(limited, "t4", 41, 5)).refused == "tokens"


async def test_local_place_runs_out_too() -> None:
    """A place that was never given back is free after its deadline and a minute."""
    now = 0.0
    local = LocalCounts(lambda: now)
    await local.take(key(searches=1), "t1", 1, 5)
    now = 64.0
    assert (await local.take(key(searches=1), "t2", 1, 5)).refused == "searches"
    now = 66.0
    assert (await local.take(key(searches=1), "t3", 1, 5)).refused is None

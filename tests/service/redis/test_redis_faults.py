"""What a request sees of a Redis that is ill, and that the way to it heals by itself: on both servers."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from service.redis_allowance import allowance
from service.redis_link import RedisLink

Linked = Callable[..., RedisLink]
Healed = Callable[[RedisLink], Awaitable[None]]
HUNG_MS = 300
REQUEST_S = 0.1
"""What one request may wait for Redis, where that is tried."""


def get(redis: Redis) -> Awaitable[Any]:
    return redis.get("k")


def put(redis: Redis) -> Awaitable[Any]:
    return redis.set("k", "v")


def names(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the way to Redis has logged, without the reasons in brackets."""
    return [r.getMessage().split(" (")[0] for r in caplog.records if r.name == "mull.redis"]


OUTAGE = ["Redis does not answer", "Redis answers again"]


async def test_a_hung_server_costs_two_requests_their_allowance(
    own_server: Any, linked: Linked, healed: Healed, caplog: pytest.LogCaptureFixture
) -> None:
    """However often they ask; those that come later wait for nothing, and when it goes on it is used again."""
    link = linked(own_server.url, HUNG_MS)
    assert await link.ask(put) == (True, True)
    own_server.process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(20):
        for _ in range(3):
            with allowance(REQUEST_S):
                for _ in range(50):
                    assert await link.ask(get) == (False, None)
    assert link.state == "down"
    assert (link.unanswered["timeout"], link.unanswered["spent"], link.unanswered["down"]) == (2, 49, 99)
    own_server.process.send_signal(signal.SIGCONT)
    await healed(link)
    assert await link.ask(get) == (True, b"v")
    assert names(caplog) == OUTAGE


async def test_a_killed_server_is_noticed_at_once_and_may_come_back_empty(
    own_server: Any, linked: Linked, healed: Healed, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has forgotten is a miss; the log tells of it once."""
    link = linked(own_server.url)
    await link.ask(put)
    own_server.stop()
    for _ in range(20):
        assert await link.ask(get) == (False, None)
    assert (link.state, link.unanswered["lost"], link.unanswered["down"]) == ("down", 2, 18)
    own_server.start()
    await healed(link)
    assert await link.ask(get) == (True, None)
    assert names(caplog) == OUTAGE


async def test_a_server_that_was_restarted_unnoticed_was_never_away(
    own_server: Any, linked: Linked, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that were lost while nobody used them are made again, at once and quietly."""
    link = linked(own_server.url)
    await asyncio.gather(*(link.ask(put) for _ in range(8)))
    own_server.stop()
    own_server.start()
    await asyncio.sleep(0.05)
    assert await asyncio.gather(*(link.ask(get) for _ in range(8))) == [(True, None)] * 8
    assert names(caplog) == []


async def test_a_read_only_server_is_read(own_server: Any, linked: Linked, caplog: pytest.LogCaptureFixture) -> None:
    """Writes are refused, which the log says once and the metric each time; reads go on."""
    link = linked(own_server.url)
    await link.ask(put)
    with own_server.client() as beside:
        beside.replicaof("127.0.0.1", 1)
    for _ in range(3):
        assert await link.ask(put) == (False, None)
        assert await link.ask(get) == (True, b"v")
    assert (link.state, link.unanswered["refused"]) == ("on", 3)
    assert [r.getMessage() for r in caplog.records] == ["Redis refuses commands (READONLY)"]
    with own_server.client() as beside:
        beside.replicaof("NO", "ONE")
    assert await link.ask(put) == (True, True)


async def test_a_full_server_is_read(own_server: Any, linked: Linked, caplog: pytest.LogCaptureFixture) -> None:
    """One that evicts nothing refuses writes, also in scripts and pipelines, and keeps what it has."""
    link = linked(own_server.url)
    await link.ask(put)
    with own_server.client() as beside:
        beside.config_set("maxmemory", 1)

    def script(redis: Redis) -> Awaitable[Any]:
        return redis.register_script("return redis.call('SET', KEYS[1], 'w')")(keys=["k"])

    async def pipe(redis: Redis) -> None:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.set("secret", "thing")
            await pipeline.execute()

    for write in (put, script, pipe):
        assert await link.ask(write) == (False, None)
        assert await link.ask(get) == (True, b"v")
    assert link.unanswered["refused"] == 3
    assert [r.getMessage() for r in caplog.records] == ["Redis refuses commands (OOM)"]


async def test_a_slow_server_costs_no_more_than_a_hung_one(far: Any, linked: Linked) -> None:
    """One that answers each command late, yet always answers, gets none when the request has waited long enough."""
    link = linked(far.url, timeout_ms=5000)
    await link.ask(put)
    far.delay_s = 0.15
    async with asyncio.timeout(20):
        with allowance(0.4):
            told = [await link.ask(get) for _ in range(30)]
    assert told[0] == (True, b"v")
    assert told[3:] == [(False, None)] * 27
    assert (link.state, link.unanswered["timeout"]) == ("on", 0)
    assert link.unanswered["spent"] >= 27


async def test_a_server_too_far_to_be_connected_to_in_time_is_used_all_the_same(
    far: Any, linked: Linked, healed: Healed
) -> None:
    """The connection is made while requests go on without it; with it commands are in time."""
    far.delay_s = 0.5
    link = linked(f"{far.url}/3", timeout_ms=5000)  # choosing a database takes a round trip
    async with asyncio.timeout(20):
        with allowance(0.8):
            assert await link.ask(get) == (False, None)
        await asyncio.sleep(2)
        with allowance(0.9):
            assert await link.ask(get) == (True, None)


async def test_a_write_that_is_given_up_is_done(far: Any, redis_server: Any, linked: Linked) -> None:
    """The request goes on without waiting, and what it has found is kept."""
    link = linked(far.url, timeout_ms=5000)
    await link.ask(get)
    far.delay_s = 0.3
    with allowance(0.1):
        assert await link.ask(put) == (False, None)
    await asyncio.sleep(0.6)
    with redis_server.client() as beside:
        assert beside.get("k") == b"v"


async def test_late_replies_go_to_no_other_command(far: Any, linked: Linked) -> None:
    """Commands are given up and their callers cancelled at any moment: no reply is mixed up, no connection is lost."""
    link = linked(far.url, timeout_ms=5000)
    asked: list[asyncio.Task[tuple[bool, Any]]] = []

    def echo(text: bytes) -> Callable[[Redis], Awaitable[Any]]:
        return lambda redis: redis.echo(text)

    for number in range(200):
        far.delay_s = number % 5 * 0.002
        asked.append(asyncio.create_task(link.ask(echo(b"%d" % number))))
        await asyncio.sleep(0.001)
        if number % 3 == 0:
            asked[number // 2].cancel()
    told = await asyncio.gather(*asked, return_exceptions=True)
    answers = {number: answer for number, answer in enumerate(told) if isinstance(answer, tuple) and answer[0]}
    assert len(answers) > 50
    assert all(value == b"%d" % number for number, (_, value) in answers.items())
    far.delay_s = 0
    await asyncio.sleep(0.1)
    assert not link._asking
    assert len(link._redis.connection_pool._in_use_connections) == 0  # type: ignore[union-attr]
    assert far.connections <= 16


async def test_a_server_that_hangs_when_we_leave_does_not_hold_us(own_server: Any, linked: Linked) -> None:
    """Closing gives up what is being asked; who asked goes on without."""
    link = linked(own_server.url)
    await link.ask(put)
    own_server.process.send_signal(signal.SIGSTOP)
    asking = asyncio.create_task(link.ask(get))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await link.aclose()
        assert await asking == (False, None)


async def test_a_crowd_is_no_outage(redis_server: Any, linked: Linked) -> None:
    """Many more commands at once than there are connections, all with a process that is busy beside: each waits."""
    link = linked(redis_server.url)
    await link.ask(put)

    async def busy() -> None:
        for _ in range(5):
            sum(range(200_000))
            await asyncio.sleep(0)

    *_, told = await asyncio.gather(busy(), busy(), asyncio.gather(*(link.ask(get) for _ in range(100))))
    assert told == [(True, b"v")] * 100


async def test_many_failures_at_one_moment_are_one(own_server: Any, linked: Linked) -> None:
    """A hiccup that takes in all connections at once is not yet an outage."""
    link = linked(own_server.url, timeout_ms=200)
    await asyncio.gather(*(link.ask(put) for _ in range(8)))
    own_server.process.send_signal(signal.SIGSTOP)
    assert await asyncio.gather(*(link.ask(get) for _ in range(8))) == [(False, None)] * 8
    own_server.process.send_signal(signal.SIGCONT)
    assert (link.state, link.unanswered["timeout"]) == ("on", 8)

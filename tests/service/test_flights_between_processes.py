"""Identical requests in flight in several processes: leases, values handed over, and a server that fails."""

import asyncio
import random
import signal
import zlib
from collections.abc import AsyncIterator
from importlib.metadata import version

import pytest

from service.errors import EngineUnavailable, Overloaded
from service.flight_locks import FlightLocks
from service.flights import FORMAT, Flights
from service.redis_link import RedisLink
from service.search.request import SearchResult
from service.settings import RedisSettings
from tests.service.conftest import RedisServer
from tests.service.flying import FOUND, LEASE_S, LONG_LEASE_S, LOOK_S, Opener, Search, eventually, flown, processes

OURS = f"mull/{FORMAT}/{version('mull')}\n".encode()


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens flights of processes at a server."""
    async with processes() as opened:
        yield opened


async def test_leader_of_another_process_that_leaves_is_followed_at_once(opened: Opener, valkey: RedisServer) -> None:
    """Without waiting for the lease."""
    here, there = opened(valkey.url), opened(valkey.url)
    search, other = Search(), Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    flying = asyncio.create_task(flown(there, other))
    await asyncio.sleep(2 * LOOK_S)
    leading.cancel()
    async with asyncio.timeout(LEASE_S):
        await other.running.wait()
    other.go.set()
    assert await flying


async def test_lease_is_renewed(opened: Opener, valkey: RedisServer) -> None:
    """A search may take much longer than a lease."""
    here, there = opened(valkey.url), opened(valkey.url)
    search, other = Search(), Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    flying = asyncio.create_task(flown(there, other))
    await asyncio.sleep(3 * LEASE_S)
    search.go.set()
    assert await asyncio.gather(leading, flying) == [True, False]
    assert other.runs == 0


async def test_dead_leader_is_followed_within_its_lease(opened: Opener, valkey: RedisServer) -> None:
    """Of several that wait one takes over, and the others wait on."""
    with valkey.client() as redis:
        redis.set("mull:flight:k", "a dead process", px=round(LEASE_S * 1000))
    flights = [opened(valkey.url) for _ in range(3)]
    searches = [Search() for _ in flights]
    flying = [asyncio.create_task(flown(*pair)) for pair in zip(flights, searches, strict=True)]
    await eventually(lambda: any(search.runs for search in searches))
    await asyncio.sleep(2 * LOOK_S)
    for search in searches:
        search.go.set()
    assert sum(await asyncio.gather(*flying)) == 1
    assert sum(search.runs for search in searches) == 1


async def test_who_was_found_dead_and_was_not_does_no_harm(opened: Opener, valkey: RedisServer) -> None:
    """A process that slept through its lease does not free the lock of the one that has it now."""
    here, there = opened(valkey.url), opened(valkey.url)
    search, other = Search(), Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    with valkey.client() as redis:
        redis.delete("mull:flight:k")
        flying = asyncio.create_task(flown(there, other))
        await other.running.wait()
        search.go.set()
        assert await leading
        await asyncio.sleep(2 * LOOK_S)
        assert redis.exists("mull:flight:k")
    other.go.set()
    assert await flying


async def test_what_was_kept_meanwhile_is_not_searched_again(opened: Opener, valkey: RedisServer) -> None:
    """Between a look into the cache and the lock another process may have found it."""
    search = Search()
    search.kept = FOUND
    assert not await flown(opened(valkey.url), search)
    assert search.runs == 0


@pytest.mark.parametrize(
    "value",
    [b"mull/0/0.0.0\nrubbish", b"", b"\x00\xff", OURS, OURS + b"cut", OURS + zlib.compress(b"{}")],
)
async def test_another_versions_value_is_not_waited_for(opened: Opener, valkey: RedisServer, value: bytes) -> None:
    """Each then searches for itself: gateways of two versions serve beside each other during an upgrade."""
    with valkey.client() as redis:
        redis.set("mull:flight:k", "theirs")
        redis.set("mull:flown:theirs", value)
    search = Search()
    search.go.set()
    assert await flown(opened(valkey.url), search)


async def test_too_large_a_value_is_not_handed_over(valkey: RedisServer) -> None:
    """Those who wait then search themselves, and do not wait for each other."""
    link = RedisLink(RedisSettings.model_validate({"url": valkey.url}))
    here, there = (Flights(FlightLocks(link, lease_s=LEASE_S, look_s=LOOK_S), 60) for _ in range(2))
    search, other = Search(), Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    flying = asyncio.create_task(flown(there, other))
    await asyncio.sleep(2 * LOOK_S)
    other.go.set()
    search.go.set()
    assert await asyncio.gather(leading, flying) == [True, True]
    await here.aclose()
    await there.aclose()
    await link.aclose()


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
async def test_server_that_fails_leaves_nobody_waiting(
    opened: Opener, own_server: RedisServer, fate: signal.Signals
) -> None:
    """Who waits for another process searches for itself."""
    here, there = opened(own_server.url), opened(own_server.url)
    search, other = Search(), Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    flying = asyncio.create_task(flown(there, other))
    await asyncio.sleep(2 * LOOK_S)
    assert own_server.process is not None
    own_server.process.send_signal(fate)
    async with asyncio.timeout(5):
        await other.running.wait()
    search.go.set()
    other.go.set()
    assert await asyncio.gather(leading, flying) == [True, True]


async def test_lost_subscription_is_no_lost_flight(opened: Opener, valkey: RedisServer) -> None:
    """Who waits looks for itself meanwhile."""
    here, there = opened(valkey.url), opened(valkey.url)
    search, other = Search(), Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    flying = asyncio.create_task(flown(there, other))
    await asyncio.sleep(2 * LOOK_S)
    with valkey.client() as redis:
        assert redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
        search.go.set()
        assert await asyncio.gather(leading, flying) == [True, False]
        assert other.runs == 0


async def test_a_process_subscribes_once(opened: Opener, valkey: RedisServer) -> None:
    """However many of its requests wait, and for however many others; and not for longer than they do."""
    here, there = opened(valkey.url, LONG_LEASE_S), opened(valkey.url, LONG_LEASE_S)
    searches = [Search() for _ in range(20)]
    leading = [asyncio.create_task(flown(here, search, f"k{i}")) for i, search in enumerate(searches)]
    await eventually(lambda: all(search.runs for search in searches))
    flying = [asyncio.create_task(flown(there, Search(), f"k{i % 20}")) for i in range(60)]
    await asyncio.sleep(3 * LOOK_S)
    with valkey.client() as redis:
        assert dict(redis.pubsub_numsub("mull:flights")) == {b"mull:flights": 1}
        for search in searches:
            search.go.set()
        assert await asyncio.gather(*leading) == [True] * 20
        assert await asyncio.gather(*flying) == [False] * 60
        await eventually(lambda: dict(redis.pubsub_numsub("mull:flights")) == {b"mull:flights": 0})
        assert not redis.keys("mull:flight:*")
        assert all(0 < redis.ttl(key) <= 10 for key in redis.keys("mull:flown:*"))


class Hasty(Search):
    """A search that takes some milliseconds, and sometimes fails before its turn or after; it counts itself."""

    at_once = 0

    def __init__(self, chance: random.Random) -> None:
        super().__init__(turn=False)
        self._chance = chance

    async def __call__(self) -> SearchResult:
        """Search."""
        await asyncio.sleep(self._chance.random() / 100)
        if self._chance.random() < 0.1:
            raise Overloaded("Too much is waiting.")
        self.began = True
        Hasty.at_once += 1
        assert Hasty.at_once == 1
        try:
            await asyncio.sleep(self._chance.random() / 20)
            if self._chance.random() < 0.1:
                raise EngineUnavailable("The policy is down.")
            return FOUND
        finally:
            Hasty.at_once -= 1


async def test_come_and_go_at_random(opened: Opener, valkey: RedisServer) -> None:
    """Three processes, one question: there is never more than one search, and everybody who stays comes to an end."""
    chance = random.Random(0)
    processes = [opened(valkey.url) for _ in range(3)]
    flying: list[asyncio.Task[bool]] = []
    for _ in range(300):
        flying.append(asyncio.create_task(flown(chance.choice(processes), Hasty(chance))))
        if chance.random() < 0.4:
            chance.choice(flying).cancel()
        await asyncio.sleep(chance.random() / 200)
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*flying, return_exceptions=True)
    known = (bool, asyncio.CancelledError, Overloaded, EngineUnavailable)
    assert [outcome for outcome in outcomes if not isinstance(outcome, known)] == []
    assert {True, False} <= {outcome for outcome in outcomes if isinstance(outcome, bool)}

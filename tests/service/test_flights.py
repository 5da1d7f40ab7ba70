"""Identical requests in flight, in one process and in several that share a server."""

import asyncio
import random
import signal
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version

import pytest

from service.errors import EngineUnavailable, MullError, Overloaded
from service.flight_locks import FlightLocks
from service.flights import FORMAT, Flights
from service.redis_link import RedisLink
from service.search.request import SearchRequest, SearchResult
from service.settings import RedisSettings
from strategies.sample import SampleOne
from tests.service.conftest import RedisServer
from tests.service.gateway.fake_workers import result

FOUND = result(SearchRequest(model="tiny", prompt="1+1?", strategy=SampleOne()))
LEASE_S = 2.0
LOOK_S = 0.1
LONG_LEASE_S = 10.0
"""Where leases are not what is looked at: a machine that stands still for a moment must not end one."""
LARGE = 1_000_000
OURS = f"mull/{FORMAT}/{version('mull')}\n".encode()

Opener = Callable[..., Flights]


class Search:
    """A search that ends when it is let go; `error` is raised then. `turn`: it has its turn at once."""

    def __init__(self, *, turn: bool = True, error: Exception | None = None) -> None:
        self.began = False
        self.runs = 0
        self.stopped = 0
        self.kept: SearchResult | None = None
        self.go = asyncio.Event()
        self.running = asyncio.Event()
        self._turn = turn
        self._error = error

    async def __call__(self) -> SearchResult:
        """Wait, and answer or fail."""
        self.runs += 1
        self.running.set()
        self.began = self._turn
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self._error is not None:
            raise self._error
        return FOUND

    async def known(self) -> SearchResult | None:
        """Say what is kept."""
        return self.kept


async def flown(flights: Flights, search: Search, key: str | None = "k") -> bool:
    """Fly, and return whether it was this search that found the result."""
    async with flights.boarded(key, search) as seat:
        found, own = await seat.landed
    assert found == FOUND
    return own


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens flights of processes at a server; afterwards nothing of theirs is left: no task, no flight."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        def opened(url: str | None, lease_s: float = LEASE_S) -> Flights:
            link = RedisLink(RedisSettings.model_validate({"url": url, "timeout_ms": 500}))
            stack.push_async_callback(link.aclose)
            flights = Flights(FlightLocks(link, lease_s=lease_s, look_s=LOOK_S), LARGE)
            stack.push_async_callback(flights.aclose)
            return flights

        yield opened
    await eventually(lambda: asyncio.all_tasks() <= {*before, asyncio.current_task()})


@pytest.fixture(params=["one process", "two processes"])
def pair(
    request: pytest.FixtureRequest, opened: Callable[[str | None], Flights], valkey: RedisServer
) -> tuple[Flights, Flights]:
    """Flights of one process without Redis, twice the same; or of two that share one."""
    if request.param == "one process":
        one = opened(None)
        return one, one
    return opened(valkey.url), opened(valkey.url)


async def test_fifty_requests_are_one_search(pair: tuple[Flights, Flights]) -> None:
    """The first one's, and all the others get its result."""
    searches = [Search() for _ in range(50)]
    flying = [asyncio.create_task(flown(pair[i % 2], search)) for i, search in enumerate(searches)]
    await eventually(lambda: sum(search.runs for search in searches) == 1)
    await asyncio.sleep(2 * LOOK_S)
    for search in searches:
        search.go.set()
    assert sum(await asyncio.gather(*flying)) == 1
    assert sum(search.runs for search in searches) == 1


async def test_another_question_is_another_search(pair: tuple[Flights, Flights]) -> None:
    """Nor do requests share that have no key."""
    searches = [Search() for _ in range(4)]
    for search in searches:
        search.go.set()
    keys = ["k", "l", None, None]
    flying = [flown(pair[i % 2], search, key) for i, (search, key) in enumerate(zip(searches, keys, strict=True))]
    assert await asyncio.gather(*flying) == [True] * 4


async def test_later_request_searches_anew(pair: tuple[Flights, Flights]) -> None:
    """What a flight came to is for those who waited: what is worth keeping is in the cache."""
    for flights in pair:
        search = Search()
        search.go.set()
        assert await flown(flights, search)


async def test_error_of_the_search_is_everybodys(pair: tuple[Flights, Flights]) -> None:
    """It says the same to all, and is found out once."""
    broken = Search(error=EngineUnavailable("The policy is down.", hint="Wait.", param="model"))
    leading = asyncio.create_task(flown(pair[0], broken))
    await broken.running.wait()
    others = [Search() for _ in range(6)]
    flying = [asyncio.create_task(flown(pair[i % 2], search)) for i, search in enumerate(others)]
    await asyncio.sleep(2 * LOOK_S)
    broken.go.set()
    for outcome in await asyncio.gather(leading, *flying, return_exceptions=True):
        assert isinstance(outcome, EngineUnavailable)
        assert (outcome.message, outcome.hint, outcome.param) == ("The policy is down.", "Wait.", "model")
    assert [search.runs for search in others] == [0] * 6


async def test_crash_is_told_without_its_text(pair: tuple[Flights, Flights]) -> None:
    """Which may quote a question: only the request that crashed has it, for the log."""
    broken = Search(error=ValueError("What is my secret?"))
    leading = asyncio.create_task(flown(pair[0], broken))
    await broken.running.wait()
    flying = asyncio.create_task(flown(pair[1], Search()))
    await asyncio.sleep(2 * LOOK_S)
    broken.go.set()
    first, second = await asyncio.gather(leading, flying, return_exceptions=True)
    assert isinstance(first, ValueError)
    assert type(second) is MullError
    assert "secret" not in str(second)


async def test_what_fails_before_its_turn_is_its_own_affair(pair: tuple[Flights, Flights]) -> None:
    """The next one searches, on its own account."""
    refused = Search(turn=False, error=Overloaded("Too much is waiting."))
    leading = asyncio.create_task(flown(pair[0], refused))
    await refused.running.wait()
    search = Search()
    search.go.set()
    flying = asyncio.create_task(flown(pair[1], search))
    await asyncio.sleep(2 * LOOK_S)
    refused.go.set()
    with pytest.raises(Overloaded):
        await leading
    assert await flying


async def test_client_of_the_leader_may_leave(opened: Opener, valkey: RedisServer) -> None:
    """The search goes on for those who wait in the same process, and for those of others with them."""
    here, there = opened(valkey.url), opened(valkey.url)
    search = Search()
    leading = asyncio.create_task(flown(here, search))
    await search.running.wait()
    others = [Search(), Search()]
    flying = [asyncio.create_task(flown(flights, other)) for flights, other in zip((here, there), others, strict=True)]
    await asyncio.sleep(2 * LOOK_S)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    search.go.set()
    assert await asyncio.gather(*flying) == [False, False]
    assert (search.runs, search.stopped, *(other.runs for other in others)) == (1, 0, 0, 0)


async def test_who_leaves_before_its_turn_takes_its_search_along(pair: tuple[Flights, Flights]) -> None:
    """It has paid for nothing: the next one waits for its own turn."""
    waiting = Search(turn=False)
    leading = asyncio.create_task(flown(pair[0], waiting))
    await waiting.running.wait()
    search = Search()
    search.go.set()
    flying = asyncio.create_task(flown(pair[1], search))
    await asyncio.sleep(2 * LOOK_S)
    leading.cancel()
    assert await flying
    assert waiting.stopped == 1


async def test_search_that_nobody_wants_is_stopped(pair: tuple[Flights, Flights]) -> None:
    """By the time that the last one has left; and another process is told at once."""
    search = Search()
    flying = [asyncio.create_task(flown(pair[0], search)) for _ in range(3)]
    await search.running.wait()
    for task in flying:
        task.cancel()
    await asyncio.gather(*flying, return_exceptions=True)
    assert search.stopped == 1
    other = Search()
    other.go.set()
    async with asyncio.timeout(LEASE_S):
        assert await flown(pair[1], other)


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


async def test_who_leads_is_known_at_once(pair: tuple[Flights, Flights]) -> None:
    """Before there is a result, for the first byte of a stream."""
    first, second = Search(), Search()
    async with pair[0].boarded("k", first) as leader:
        assert await leader.leads()
        async with pair[1].boarded("k", second) as follower:
            assert not await follower.leads()
        first.go.set()
        assert await leader.landed == (FOUND, True)


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

"""Identical requests in flight, in one process and, all the same, in two that share a server."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from service.errors import EngineUnavailable, MullError, Overloaded
from service.flights import Flights
from tests.service.conftest import RedisServer
from tests.service.flying import FOUND, LEASE_S, LOOK_S, Opener, Search, eventually, flown, processes


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens flights of processes at a server."""
    async with processes() as opened:
        yield opened


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


async def test_who_leads_is_known_at_once(pair: tuple[Flights, Flights]) -> None:
    """Before there is a result, for the first byte of a stream."""
    first, second = Search(), Search()
    async with pair[0].boarded("k", first) as leader:
        assert await leader.leads()
        async with pair[1].boarded("k", second) as follower:
            assert not await follower.leads()
        first.go.set()
        assert await leader.landed == (FOUND, True)

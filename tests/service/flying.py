"""Searches that fly, and what opens flights as several processes would."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from service.flight_locks import FlightLocks
from service.flights import Flights
from service.redis_link import RedisLink
from service.search.request import SearchRequest, SearchResult
from service.settings import RedisSettings
from strategies.sample import SampleOne
from tests.service.gateway.fake_workers import result

FOUND = result(SearchRequest(model="tiny", prompt="1+1?", strategy=SampleOne()))
LEASE_S = 2.0
LOOK_S = 0.1
LONG_LEASE_S = 10.0
"""Where leases are not what is looked at: a machine that stands still for a moment must not end one."""
LARGE = 1_000_000

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


@asynccontextmanager
async def processes() -> AsyncIterator[Opener]:
    """Return what opens flights of processes at a server; afterwards nothing of theirs is left: no task, no flight."""
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

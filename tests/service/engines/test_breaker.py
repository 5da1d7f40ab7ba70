"""When a server is left alone, and when it is asked again."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from service.engines.breaker import FIRST_S, LONGEST_S, THRESHOLD, Breaker
from service.engines.failures import gone
from service.errors import EngineError

FAILURE: EngineError = gone("policy 'small'")


class World:
    """A breaker whose waits end when a test says so, and a server that is well or not."""

    def __init__(self) -> None:
        self.well = False
        self.waits: list[float] = []
        self.asked = 0
        self._turn = asyncio.Event()
        self.breaker = Breaker("policy 'small'", self._healthy, sleep=self._sleep, jitter=lambda low, high: high)

    async def pass_time(self) -> None:
        """Let the wait that is under way end, and what comes after it happen."""
        self._turn.set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self._turn.wait()
        self._turn.clear()

    async def _healthy(self) -> bool:
        self.asked += 1
        return self.well

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.epoch, FAILURE)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.breaker.aclose()


async def test_it_opens_after_some_failures_in_a_row(world: World) -> None:
    """One less changes nothing."""
    world.fail(THRESHOLD - 1)
    assert (world.breaker.state, world.breaker.lets_in) == ("closed", True)
    world.fail(1)
    assert (world.breaker.state, world.breaker.lets_in, world.breaker.why) == ("open", False, FAILURE)


async def test_an_answer_in_between_makes_the_count_begin_anew(world: World) -> None:
    """Failures that come now and then are not the server's end."""
    for _ in range(3):
        world.fail(THRESHOLD - 1)
        world.breaker.succeeded(world.breaker.epoch)
    assert world.breaker.state == "closed"


async def test_it_is_asked_less_and_less_often_until_it_is_well(world: World) -> None:
    """Twice the time with each no, up to a limit; one yes lets requests in again."""
    world.breaker.trip(FAILURE)
    for _ in range(6):
        await world.pass_time()
        assert not world.breaker.lets_in
    world.well = True
    await world.pass_time()
    assert (world.breaker.state, world.breaker.lets_in) == ("half open", True)
    assert world.waits[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert set(world.waits[4:]) == {LONGEST_S}
    asked = world.asked
    await world.pass_time()
    assert world.asked == asked


async def half_opened(world: World) -> None:
    world.breaker.trip(FAILURE)
    world.well = True
    await asyncio.sleep(0)
    await world.pass_time()


async def test_the_first_failure_after_that_opens_it_again_for_longer(world: World) -> None:
    """Health says little of an engine that answers every request with an error."""
    await half_opened(world)
    world.fail(1)
    await asyncio.sleep(0)
    assert world.breaker.state == "open"
    assert world.waits == [FIRST_S, 2 * FIRST_S]


async def test_an_answer_after_that_closes_it(world: World) -> None:
    """And the next time it is asked soon again."""
    await half_opened(world)
    world.breaker.succeeded(world.breaker.epoch)
    assert world.breaker.state == "closed"
    world.breaker.trip(FAILURE)
    await asyncio.sleep(0)
    assert world.waits == [FIRST_S, FIRST_S]


@pytest.mark.parametrize("tell", [lambda b, e: b.failed(e, FAILURE), lambda b, e: b.succeeded(e)])
async def test_what_was_sent_before_says_nothing_of_the_server_now(
    world: World, tell: Callable[[Breaker, int], None]
) -> None:
    """Requests that hung while it was down end long after it is back."""
    before = world.breaker.epoch
    await half_opened(world)
    for _ in range(2 * THRESHOLD):
        tell(world.breaker, before)
    assert world.breaker.state == "half open"


async def test_opening_twice_asks_once(world: World) -> None:
    """Many requests fail at the same time."""
    for _ in range(10):
        world.breaker.trip(FAILURE)
    await asyncio.sleep(0)
    assert len(world.waits) == 1


async def test_nothing_is_asked_after_the_end(world: World) -> None:
    """The task ends with the connections."""
    world.breaker.trip(FAILURE)
    await world.breaker.aclose()
    await world.pass_time()
    assert world.asked == 0


async def test_both_turns_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One line when it is left alone, with what happened, and one when it is asked again."""
    await half_opened(world)
    first, second = [record.getMessage() for record in caplog.records]
    assert "policy 'small'" in first
    assert "cannot be reached" in first
    assert "asked again" in second

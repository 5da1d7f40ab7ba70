import asyncio
import random

import pytest

from service.doors.admission import Admission
from service.errors import Overloaded


async def test_turn_comes_when_another_ends() -> None:
    """What does not fit waits, and is called as soon as there is room."""
    door = Admission(100, 100)
    async with door.turn(None, 100, 9):
        waiting = asyncio.create_task(_through(door, 50))
        await asyncio.sleep(0)
        assert (door.in_flight, door.waiting) == (100, 50)
    assert 0 < await waiting <= 9
    assert (door.in_flight, door.waiting) == (0, 0)


async def test_full_queue_refuses_at_once() -> None:
    """Overload is told early, and with a hint to come back."""
    door = Admission(100, 100)
    async with door.turn(None, 100, 9):
        waiting = asyncio.create_task(_through(door, 100))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="Too much is waiting"):
            await _through(door, 1)
        waiting.cancel()


async def test_deadline_counts_while_waiting() -> None:
    """A turn that does not come in time is an error that says so, and leaves nothing in the queue."""
    door = Admission(100, 100)
    async with door.turn(None, 100, 9):
        with pytest.raises(Overloaded, match="turn within its deadline"):
            await _through(door, 10, left_s=0.01)
        assert door.waiting == 0


async def test_client_that_leaves_is_not_called() -> None:
    """A request that is cancelled in the queue makes way for the next."""
    door = Admission(100, 200)
    async with door.turn(None, 50, 9):
        gone = asyncio.create_task(_through(door, 100))
        await asyncio.sleep(0)
        next_one = asyncio.create_task(_through(door, 50))
        await asyncio.sleep(0)
        assert not next_one.done()
        gone.cancel()
        await next_one
        assert (door.in_flight, door.waiting) == (50, 0)


async def test_failed_search_gives_its_tokens_back() -> None:
    """Whatever ends a search, its tokens are free again."""
    door = Admission(100, 0)
    with pytest.raises(ValueError, match="broken"):
        async with door.turn(None, 100, 9):
            raise ValueError("broken")
    assert door.in_flight == 0


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_left_behind(seed: int) -> None:
    """After any mixture of ends, cancellations and time-outs the door is as it was."""
    chance = random.Random(seed)
    door = Admission(100, 400)
    tasks = []
    for _ in range(200):
        price, left_s = chance.randint(1, 60), chance.choice([0.0, 0.002, 5])
        caller = chance.choice(["a", "b", "c", None])
        tasks.append(
            asyncio.create_task(_through(door, price, left_s=left_s, caller=caller, yields=chance.randint(0, 5)))
        )
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
        assert door.in_flight <= 100
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (door.in_flight, door.waiting) == (0, 0)


async def _through(
    door: Admission, price: int, left_s: float = 9.0, caller: str | None = None, yields: int = 0
) -> float:
    async with door.turn(caller, price, left_s) as left:
        for _ in range(yields):
            await asyncio.sleep(0)
        return left

"""Slots are full when there is work, and fair between searches."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from service.search.slots import Share, Slots


async def hold(share: Share, told: list[str], name: str, until: asyncio.Event) -> None:
    """Take a slot, say so, and keep it."""
    async with share:
        told.append(name)
        await until.wait()


async def test_a_small_search_does_not_wait_for_a_large_one() -> None:
    """Of two slots the large search has both and wants more; the next one to fall free is the small search's."""
    slots, told, until = Slots(2), list[str](), asyncio.Event()
    large, small = slots.share(), slots.share()
    first = [asyncio.create_task(hold(large, told, "large", until)) for _ in range(8)]
    await asyncio.sleep(0)
    last = asyncio.create_task(hold(small, told, "small", until))
    await asyncio.sleep(0)
    first[0].cancel()
    await asyncio.sleep(0.01)
    assert told == ["large", "large", "small"]
    until.set()
    await asyncio.gather(*first, last, return_exceptions=True)
    assert slots.free == 2


async def test_slots_are_dealt_evenly() -> None:
    """Three searches that all want more than there is hold two of six each."""
    slots, told, until = Slots(6), list[str](), asyncio.Event()
    greedy = slots.share()
    blocker = [asyncio.create_task(hold(greedy, [], "", until)) for _ in range(6)]
    await asyncio.sleep(0)
    shares = {name: slots.share() for name in "abc"}
    tasks = [asyncio.create_task(hold(shares[name], told, name, asyncio.Event())) for name in "aaaaabbbbbccccc"]
    await asyncio.sleep(0)
    until.set()
    await asyncio.gather(*blocker)
    await asyncio.sleep(0.01)
    assert sorted(told) == ["a", "a", "b", "b", "c", "c"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slots.free == 6


@settings(max_examples=50, deadline=None)
@given(capacity=st.integers(1, 4), searches=st.integers(1, 4), requests=st.integers(1, 30), order=st.integers(0, 2**32))
def test_no_slot_is_lost_or_dealt_twice(capacity: int, searches: int, requests: int, order: int) -> None:
    """Whoever is cancelled when: never more than `capacity` at once, and all of them back in the end."""
    rng = random.Random(order)

    async def run() -> None:
        slots = Slots(capacity)
        shares = [slots.share() for _ in range(searches)]
        inside = 0
        waiting = 0

        async def use(share: Share) -> None:
            nonlocal inside, waiting
            waiting += 1
            try:
                async with share:
                    waiting -= 1
                    inside += 1
                    try:
                        assert inside <= capacity
                        for _ in range(rng.randrange(4)):
                            await asyncio.sleep(0)
                    finally:
                        inside -= 1
                        waiting += 1
            finally:
                waiting -= 1

        tasks = [asyncio.create_task(use(rng.choice(shares))) for _ in range(requests)]
        for task in tasks:
            await asyncio.sleep(0)
            if rng.random() < 0.3:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert slots.free == capacity
        assert all(share.held == 0 and not share.queue for share in shares)
        assert inside == waiting == 0

    asyncio.run(run())

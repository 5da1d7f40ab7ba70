"""Streams that are given up: aborted by name, read to their bill, and let go of."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines import abort
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.search.ports import Bill, Chunk, Sampling
from service.settings import PolicySettings

COST: Json = {**usage(9, 6, 8), "choices": []}
BEGUN: list[Json | bytes] = [delta("It is", [4, 5])]
ABORTED: list[Json | bytes] = [delta(" 17", [6, 7, 8, 9], "abort"), COST, b"[DONE]"]

Start = Callable[[Bill], AsyncGenerator[Chunk, None]]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    """An engine whose streams go on until they are aborted."""
    fake = await at_end.enter_async_context(FakeVllm(name="small").running())
    fake.replies["/v1/completions"] = lambda _: Events(BEGUN, then="hold", aborted=ABORTED)
    return fake


@pytest.fixture
async def start(fake: FakeVllm, at_end: AsyncExitStack) -> Start:
    settings = PolicySettings.model_validate({"model": "small", "url": fake.url})
    policy = VllmPolicy(settings, Fleet(settings))
    at_end.push_async_callback(policy.aclose)
    await policy.open()
    return lambda bill: policy.stream((1, 2, 3), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=bill)


async def read(stream: AsyncGenerator[Chunk, None], begun: asyncio.Event) -> None:
    async with aclosing(stream):
        async for _ in stream:
            begun.set()


async def begin(start: Start, bill: Bill) -> asyncio.Task[None]:
    """Start reading a stream in a task, and return when its first chunk has come."""
    begun = asyncio.Event()
    task = asyncio.create_task(read(start(bill), begun))
    await begun.wait()
    return task


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_the_reader_aborts_and_brings_the_bill(fake: FakeVllm, start: Start) -> None:
    """It has more tokens than the reader saw, and what they say."""
    bill = Bill()
    await cancel(await begin(start, bill))
    assert bill == Bill(prompt=9, cached=8, generated=6, exact=True, unread=bill.unread)
    name = next(headers["X-Request-Id"] for headers in fake.headers if "X-Request-Id" in headers)
    assert fake.aborts == [[f"cmpl-{name}-0"]]


async def test_closing_the_generator_aborts_and_brings_the_bill(fake: FakeVllm, start: Start) -> None:
    """Also where the reader was not waiting for anything."""
    bill = Bill()
    stream = start(bill)
    await anext(stream)
    await stream.aclose()
    assert bill == Bill(prompt=9, cached=8, generated=6, exact=True, unread=bill.unread)
    assert len(fake.aborts) == 1


async def test_a_bill_that_came_with_the_first_chunk_is_not_lost(fake: FakeVllm, start: Start) -> None:
    """Events that the reader has not asked for are read for their bill."""
    fake.replies["/v1/completions"] = lambda _: Events([*BEGUN, delta("!", [6], "stop"), COST])
    bill = Bill()
    stream = start(bill)
    await anext(stream)
    await asyncio.sleep(0.05)
    await stream.aclose()
    assert bill == Bill(prompt=9, cached=8, generated=6, exact=True, unread=Chunk("!", (6,), "stop"))


async def test_a_request_aborted_before_its_first_token_costs_nothing(fake: FakeVllm, start: Start) -> None:
    """VLLM's usage has the prompt, its counters do not; there may be no choice at all."""
    unread: Json = {**usage(9, 0, 0), "choices": []}
    fake.replies["/v1/completions"] = lambda _: Events([], then="hold", aborted=[unread])
    bill = Bill()
    task = asyncio.create_task(read(start(bill), asyncio.Event()))
    await fake.reached("/v1/completions")
    await cancel(task)
    assert bill == Bill(prompt=0, cached=0, generated=0, exact=True)


async def test_streams_given_up_at_once_are_aborted_at_once(fake: FakeVllm, start: Start) -> None:
    """One request for all of them."""
    bills = [Bill() for _ in range(16)]
    tasks = [await begin(start, bill) for bill in bills]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert len(fake.aborts[0]) == 16
    assert all(bill.exact for bill in bills)


async def test_an_abort_that_came_too_early_is_repeated(fake: FakeVllm, start: Start) -> None:
    """The engine may not have known the request yet."""
    fake.deaf = 2
    bill = Bill()
    await cancel(await begin(start, bill))
    assert bill.exact
    assert len(fake.aborts) > 2


async def test_nothing_is_asked_after_the_end(fake: FakeVllm, start: Start) -> None:
    """Neither for a stream that was aborted, nor for one that ended by itself."""
    await cancel(await begin(start, Bill()))
    await asyncio.sleep(3 * abort.AGAIN_S)  # one that was on its way
    posted = len(fake.aborts)
    fake.replies["/v1/completions"] = lambda _: Events([delta("!", [6], "stop"), COST])
    stream = start(Bill())
    await anext(stream)
    await stream.aclose()
    await asyncio.sleep(3 * abort.AGAIN_S)
    assert len(fake.aborts) == posted


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_an_engine_that_cannot_abort_sees_the_connection_closed(
    fake: FakeVllm, start: Start, status: int
) -> None:
    """It is asked once, and that is remembered; the bill is what was seen."""
    held = [Events(BEGUN, then="hold") for _ in range(2)]
    waiting = iter(held)
    fake.replies["/v1/completions"] = lambda _: next(waiting)
    fake.abort_status = status
    bills = [Bill(), Bill()]
    for bill in bills:
        await cancel(await begin(start, bill))
    for events in held:
        await asyncio.wait_for(events.left.wait(), 10)
    assert bills == [Bill(prompt=3, cached=None, generated=2, exact=False)] * 2
    assert len(fake.aborts) == 1


async def test_an_engine_that_says_nothing_more_is_not_waited_for_for_ever(
    fake: FakeVllm, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the grace the connection is closed, and the bill is what was seen."""
    monkeypatch.setattr(abort, "ABORT_GRACE_S", 0.1)
    held = Events(BEGUN, then="hold")
    fake.replies["/v1/completions"] = lambda _: held
    fake.deaf = 1000
    bill = Bill()
    await cancel(await begin(start, bill))
    await asyncio.wait_for(held.left.wait(), 10)
    assert bill == Bill(prompt=3, cached=None, generated=2, exact=False)


async def test_a_second_cancellation_ends_the_grace(
    fake: FakeVllm, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever insists does not wait."""
    monkeypatch.setattr(abort, "ABORT_GRACE_S", 1000)
    held = Events(BEGUN, then="hold")
    fake.replies["/v1/completions"] = lambda _: held
    fake.deaf = 1000
    bill = Bill()
    task = await begin(start, bill)
    task.cancel()
    await fake.reached(fake.ABORT)
    await cancel(task)
    await asyncio.wait_for(held.left.wait(), 10)
    assert not bill.exact


async def test_an_engine_that_breaks_off_in_the_grace_is_no_new_failure(fake: FakeVllm, start: Start) -> None:
    """The caller has left already: it stays a cancellation."""
    fake.replies["/v1/completions"] = lambda _: Events(BEGUN, then="hold", aborted=[b"{oops"])
    bill = Bill()
    await cancel(await begin(start, bill))
    assert bill == Bill(prompt=3, cached=None, generated=2, exact=False)


async def test_no_task_outlives_what_it_was_for(fake: FakeVllm, start: Start) -> None:
    """Neither the sending, nor the abort, nor the watching."""
    before = asyncio.all_tasks()
    await cancel(await begin(start, Bill()))
    for _ in range(5):  # a task that has been cancelled needs its turn
        await asyncio.sleep(0)
    # The server of this test has one task for each connection.
    coroutines = [task.get_coro() for task in asyncio.all_tasks() - before]
    assert [c for c in coroutines if Path(c.cr_code.co_filename).parent == Path(abort.__file__).parent] == []

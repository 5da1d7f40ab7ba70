"""Searches that are looked on at, over a Ray Serve handle that streams."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from fake_workers import result
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from service.errors import EngineUnavailable, MullError, Overloaded, QuestionTooLong
from service.gateway import workers as ray_side
from service.gateway.workers import RayWorkers
from service.search.progress import Interest, Progress, Standing
from service.search.request import Budget, Message, SearchRequest, WorkerReply
from strategies.sample import SampleOne

REQUEST = SearchRequest(model="tiny", messages=(Message(role="user", content="1+1?"),), strategy=SampleOne())
GOOD = WorkerReply(result=result(REQUEST)).model_dump()
STANDS = Progress(standing=Standing(begun=1, steps=1, ended=0, answer=None, votes=None))
WRITES = Progress(text="So")
ALL = Interest(text=True, standing=True)


class FakeItems:
    """What a streaming call gives one after another: an item, an exception that is raised, or `None`: nothing ever."""

    def __init__(self, outcomes: tuple[Any, ...]) -> None:
        self._outcomes = iter(outcomes)
        self.over = False
        self.cancelled = False

    def __aiter__(self) -> "FakeItems":
        return self

    async def __anext__(self) -> Any:
        outcome = next(self._outcomes, StopAsyncIteration())
        self.over = isinstance(outcome, StopAsyncIteration)
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome.model_dump() if isinstance(outcome, Progress) else outcome

    def cancel(self) -> None:
        """Note it."""
        self.cancelled = True


class FakeHandle:
    """A Serve handle whose streaming calls give the outcomes of one try after another."""

    def __init__(self, *tries: tuple[Any, ...]) -> None:
        self.streams = [FakeItems(outcomes) for outcomes in tries]
        self.calls: list[tuple[Any, ...]] = []
        self.watch = self

    def options(self, *, stream: bool) -> "FakeHandle":
        """Take what Ray needs to know."""
        assert stream
        return self

    def remote(self, *arguments: Any) -> FakeItems:
        """Return the next stream."""
        self.calls.append(arguments)
        return self.streams[len(self.calls) - 1]


def connected(monkeypatch: pytest.MonkeyPatch, *tries: tuple[Any, ...]) -> tuple[RayWorkers, FakeHandle]:
    handle = FakeHandle(*tries)
    monkeypatch.setattr(ray_side, "_connect", lambda address: handle)
    return RayWorkers("127.0.0.1:1"), handle


async def told(workers: RayWorkers, request: SearchRequest = REQUEST) -> list[Any]:
    """Everything that is told of one search."""
    return [item async for item in workers.watch(request, 5.0, ALL)]


async def test_progress_comes_first_and_the_result_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are what the worker sent; a stream that has come to its end is not cancelled."""
    workers, handle = connected(monkeypatch, (STANDS, WRITES, GOOD))
    assert await told(workers) == [STANDS, WRITES, result(REQUEST)]
    ((request, left, interest),) = handle.calls
    assert (request, interest) == (REQUEST.model_dump(), ALL.model_dump())
    assert left == pytest.approx(5.0, abs=1)
    assert (handle.streams[0].over, handle.streams[0].cancelled) == (True, False)


async def test_worker_errors_keep_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that crossed the process boundary as data is raised as what it was."""
    workers, _ = connected(monkeypatch, (WorkerReply(error=QuestionTooLong("900 tokens").to_wire()).model_dump(),))
    with pytest.raises(QuestionTooLong, match="900 tokens"):
        await told(workers)


async def test_lost_worker_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a search stood is no part of its answer, so it is made once more; its usage is an estimate."""
    workers, handle = connected(monkeypatch, (STANDS, ActorDiedError()), (STANDS, GOOD))
    *progress, again = await told(workers)
    assert progress == [STANDS, STANDS]
    assert again.usage.policy.estimated
    assert handle.streams[0].cancelled


@pytest.mark.parametrize(
    ("first", "budget"), [((WRITES, ActorDiedError()), Budget()), ((ActorDiedError(),), Budget(policy_tokens=100))]
)
async def test_no_second_try_where_it_could_contradict_the_first(
    monkeypatch: pytest.MonkeyPatch, first: tuple[Any, ...], budget: Budget
) -> None:
    """Another worker may write another text than was told, or pass a limit that the lost one had used up."""
    workers, handle = connected(monkeypatch, first, (GOOD,))
    with pytest.raises(EngineUnavailable):
        await told(workers, REQUEST.model_copy(update={"budget": budget}))
    assert len(handle.calls) == 1


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), Overloaded),
        (RayTaskError("watch", "Traceback: secret", ValueError("secret")), MullError),
    ],
)
async def test_failures_of_ray_are_errors_of_ours(
    monkeypatch: pytest.MonkeyPatch, error: Exception, seen: type[MullError]
) -> None:
    """Without a word of what went wrong inside."""
    workers, _ = connected(monkeypatch, (error,))
    with pytest.raises(seen) as caught:
        await told(workers)
    assert "secret" not in str(caught.value)


async def test_empty_stream_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends without a result is not taken for one that has nothing to say."""
    workers, _ = connected(monkeypatch, (STANDS,))
    with pytest.raises(MullError, match="empty reply"):
        await told(workers)


async def read_two(items: AsyncGenerator[Any, None]) -> None:
    async with aclosing(items):
        await anext(items)
        await anext(items)


async def test_closing_reaches_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would let it search on."""
    workers, handle = connected(monkeypatch, (STANDS, GOOD))
    items = workers.watch(REQUEST, 5.0, ALL)
    await anext(items)
    await items.aclose()
    assert handle.streams[0].cancelled


async def test_cancelling_reaches_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while nothing is told."""
    workers, handle = connected(monkeypatch, (STANDS, None))
    reading = asyncio.create_task(read_two(workers.watch(REQUEST, 5.0, ALL)))
    while not handle.calls:  # noqa: ASYNC110  # the thread that connects gives no sign
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert handle.streams[0].cancelled

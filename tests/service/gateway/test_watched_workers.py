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
from service.gateway import ray_link
from service.gateway import workers as ray_side
from service.gateway.workers import RayWorkers
from service.search.progress import Committed, Interest, Progress, Standing, Tokens
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
    monkeypatch.setattr(ray_link, "_join", lambda address: None)
    monkeypatch.setattr(ray_link, "_application", lambda: handle)
    monkeypatch.setattr(ray_link, "Membership", lambda: None)
    monkeypatch.setattr(ray_side, "PAUSE_S", (0.0, 0.0))
    return RayWorkers("127.0.0.1:1", on_gone=lambda: None), handle


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


async def test_no_second_search_contradicts_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker may write another text than was told."""
    workers, handle = connected(monkeypatch, (WRITES, ActorDiedError()), (GOOD,))
    with pytest.raises(EngineUnavailable):
        await told(workers)
    assert len(handle.calls) == 1


LIMITED = REQUEST.model_copy(update={"budget": Budget(policy_tokens=100, reward_tokens=50)})
USED = Progress(committed=Committed(policy=Tokens(spent=20, reserved=30), reward=Tokens(spent=10)))


async def test_second_search_gets_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lost worker had spent, and what it had in flight, is gone; the client is not told of it meanwhile."""
    workers, handle = connected(monkeypatch, (STANDS, USED, ActorDiedError()), (GOOD,))
    *progress, again = await told(workers, LIMITED)
    assert progress == [STANDS]
    assert [call[0]["budget"]["policy_tokens"] for call in handle.calls] == [100, 50]
    assert [call[0]["budget"]["reward_tokens"] for call in handle.calls] == [50, 40]
    first = result(REQUEST).usage
    assert again.usage.policy.discarded == first.policy.discarded + 20
    assert again.usage.reward.submitted == first.reward.submitted + 10
    assert (again.usage.policy.estimated, again.usage.reward.estimated) == (True, True)
    assert "worker was lost" in again.warnings[-1]


async def test_the_last_report_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set aside and not used is there again."""
    less = Progress(committed=Committed(policy=Tokens(spent=25)))
    workers, handle = connected(monkeypatch, (USED, less, ActorDiedError()), (GOOD,))
    await told(workers, LIMITED)
    assert handle.calls[1][0]["budget"]["policy_tokens"] == 75


async def test_plain_search_with_limits_is_looked_on_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is left of them is known when its worker is lost."""
    workers, handle = connected(monkeypatch, (USED, ActorDiedError()), (USED, GOOD))
    again = await workers.search(LIMITED, 5.0)
    assert again.choices == result(REQUEST).choices
    assert [call[2]["committed"] for call in handle.calls] == [True, True]
    assert handle.calls[1][0]["budget"]["policy_tokens"] == 50


async def test_nothing_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that the lost worker may have spent to its end leaves nothing for another one."""
    all_of_it = Progress(committed=Committed(policy=Tokens(spent=20, reserved=80)))
    workers, handle = connected(monkeypatch, (all_of_it, ActorDiedError()), (GOOD,))
    with pytest.raises(EngineUnavailable, match="policy_tokens") as caught:
        await workers.search(LIMITED, 5.0)
    assert "budget" in caught.value.hint
    assert len(handle.calls) == 1


async def test_what_was_gone_on_from_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second worker found samples of the lost one: they are this request's, and in its usage already."""
    found = result(REQUEST)
    before = found.usage.model_copy(
        update={"policy": found.usage.policy.model_copy(update={"kept": 10, "discarded": 0})}
    )
    reply = WorkerReply(result=found.model_copy(update={"continued": before})).model_dump()
    workers, _ = connected(monkeypatch, (USED, ActorDiedError()), (reply,))
    again = await workers.search(LIMITED, 5.0)
    assert again.continued is None
    assert again.usage.policy.discarded == found.usage.policy.discarded + 10


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

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest
from fake_workers import result, scores
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError, RequestCancelledError

from service.errors import EngineUnavailable, MullError, Overloaded, QuestionTooLong
from service.gateway import ray_link
from service.gateway import workers as ray_side
from service.gateway.workers import RayWorkers
from service.search.request import Message, SearchRequest, WorkerReply
from service.search.score_request import ScoreBudget, ScoreReply, ScoreRequest
from strategies.sample import SampleOne

REQUEST = SearchRequest(model="tiny", messages=(Message(role="user", content="1+1?"),), strategy=SampleOne())
GOOD = WorkerReply(result=result(REQUEST)).model_dump()
SCORING = ScoreRequest(model="tiny", question="1+1?", solutions=("1\n\n2",))
SCORED = ScoreReply(result=scores(SCORING)).model_dump()


class FakeResponse:
    """A Serve response: gives or raises its outcome, or never comes."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        if self._outcome is None:
            yield from asyncio.Event().wait().__await__()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        """Note it."""
        self.cancelled = True


class FakeHandle:
    """A Serve handle that gives the outcomes one after another."""

    def __init__(self, *outcomes: object) -> None:
        self.responses = [FakeResponse(o) for o in outcomes]
        self.calls: list[tuple[Any, ...]] = []
        self.search = self.score = self.ready = self

    def remote(self, *arguments: Any) -> FakeResponse:
        """Return the next response."""
        self.calls.append(arguments)
        return self.responses[len(self.calls) - 1]


def connected(monkeypatch: pytest.MonkeyPatch, *outcomes: object) -> tuple[RayWorkers, FakeHandle]:
    handle = FakeHandle(*outcomes)
    monkeypatch.setattr(ray_link, "_join", lambda address: None)
    monkeypatch.setattr(ray_link, "_application", lambda: handle)
    monkeypatch.setattr(ray_link, "Membership", lambda: None)
    monkeypatch.setattr(ray_side, "PAUSE_S", (0.0, 0.0))
    return RayWorkers("127.0.0.1:1", on_gone=lambda: None), handle


async def test_result_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker found is what the gateway gets, and the worker is told the time it has."""
    workers, handle = connected(monkeypatch, GOOD)
    assert await workers.search(REQUEST, 5.0) == result(REQUEST)
    assert handle.calls == [(REQUEST.model_dump(), 5.0)]


async def test_worker_errors_keep_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that crossed the process boundary as data is raised as what it was."""
    error = QuestionTooLong("900 tokens", hint="Shorten it.", param="messages")
    workers, _ = connected(monkeypatch, WorkerReply(error=error.to_wire()).model_dump())
    with pytest.raises(QuestionTooLong, match="900 tokens") as caught:
        await workers.search(REQUEST, 5.0)
    assert caught.value.hint == "Shorten it."


@pytest.mark.parametrize("loss", [ActorDiedError(), ReplicaUnavailableError("r1"), RequestCancelledError()])
async def test_lost_worker_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch, loss: Exception) -> None:
    """A search whose replica dies or ends is asked once more, with the time that is left; its usage is an estimate."""
    workers, handle = connected(monkeypatch, loss, GOOD)
    again = await workers.search(REQUEST, 5.0)
    assert again.choices == result(REQUEST).choices
    assert (again.usage.policy.estimated, again.usage.reward.estimated) == (True, True)
    assert "worker was lost" in again.warnings[-1]
    assert handle.calls[1][1] <= 5.0


async def test_second_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second replica dies too, the client is asked to come back."""
    workers, _ = connected(monkeypatch, ActorDiedError(), ActorDiedError())
    with pytest.raises(EngineUnavailable):
        await workers.search(REQUEST, 5.0)


async def test_no_second_try_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that is lost at its deadline is not asked again."""
    workers, handle = connected(monkeypatch, ActorDiedError(), GOOD)
    with pytest.raises(EngineUnavailable):
        await workers.search(REQUEST, 0.5)
    assert len(handle.calls) == 1


async def test_full_workers_are_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve's back-pressure is told as 'try again', at once."""
    workers, _ = connected(monkeypatch, BackPressureError(num_queued_requests=9, max_queued_requests=9))
    with pytest.raises(Overloaded):
        await workers.search(REQUEST, 5.0)


async def test_worker_crash_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in a worker is an internal error without its details, and is not tried again."""
    crash = RayTaskError("search", "Traceback: secret", ValueError("secret"))
    workers, handle = connected(monkeypatch, crash)
    with pytest.raises(MullError) as caught:
        await workers.search(REQUEST, 5.0)
    assert caught.value.status == 500
    assert "secret" not in str(caught.value)
    assert len(handle.calls) == 1


async def test_cancelling_reaches_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling the call cancels the response, which Ray would not do by itself."""
    workers, handle = connected(monkeypatch, None)
    searching = asyncio.create_task(workers.search(REQUEST, 5.0))
    while not handle.calls:  # noqa: ASYNC110  # the thread that connects gives no sign
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    assert handle.responses[0].cancelled


async def test_connecting_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that came up before its workers finds them later."""
    handle = FakeHandle(GOOD)
    tries: list[str] = []

    def join(_: str | None) -> None:
        tries.append("join")
        if len(tries) == 1:
            raise EngineUnavailable("not yet")

    def application() -> FakeHandle:
        tries.append("application")
        if len(tries) == 3:
            raise EngineUnavailable("no workers yet")
        return handle

    monkeypatch.setattr(ray_link, "_join", join)
    monkeypatch.setattr(ray_link, "_application", application)
    monkeypatch.setattr(ray_link, "Membership", lambda: None)
    workers = RayWorkers("127.0.0.1:1", on_gone=lambda: None)
    for reason in ("not yet", "no workers yet"):
        with pytest.raises(EngineUnavailable, match=reason):
            await workers.search(REQUEST, 5.0)
    assert await workers.search(REQUEST, 5.0) == result(REQUEST)
    assert tries == ["join", "join", "application", "application"]
    await workers.aclose()


async def test_engines_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker's engines said comes back as the errors they were."""
    workers, _ = connected(monkeypatch, [EngineUnavailable("The policy is down.").to_wire()])
    problems = await workers.ready()
    assert [(type(p), p.message) for p in problems] == [(EngineUnavailable, "The policy is down.")]


async def test_slow_connection_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Ray does not answer, requests are told to come back rather than left hanging until their deadline."""
    release = threading.Event()
    monkeypatch.setattr(ray_link, "CONNECTING_S", 0.05)
    monkeypatch.setattr(ray_link, "Membership", lambda: None)
    monkeypatch.setattr(ray_link, "_join", lambda address: None)
    monkeypatch.setattr(ray_link, "_application", lambda: release.wait(5) and FakeHandle(GOOD))
    workers = RayWorkers("127.0.0.1:1", on_gone=lambda: None)
    with pytest.raises(EngineUnavailable, match="yet"):
        await workers.search(REQUEST, 5.0)
    release.set()
    monkeypatch.setattr(ray_link, "CONNECTING_S", 5.0)
    assert await workers.search(REQUEST, 5.0) == result(REQUEST)


async def test_no_address_is_explained() -> None:
    """Without a Ray address the error says how to get one."""
    with pytest.raises(EngineUnavailable, match="No Ray cluster") as caught:
        await RayWorkers(None, on_gone=lambda: None).ready()
    assert "mull up" in caught.value.hint


async def test_scores_come_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker scored is what the gateway gets, and the worker is told the time it has."""
    workers, handle = connected(monkeypatch, SCORED)
    assert await workers.score(SCORING, 5.0) == scores(SCORING)
    assert handle.calls == [(SCORING.model_dump(), 5.0)]


async def test_scoring_that_is_lost_is_asked_of_another_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores are the same; what the lost replica had spent is not in the usage, which says so."""
    workers, _ = connected(monkeypatch, ActorDiedError(), SCORED)
    again = await workers.score(SCORING, 5.0)
    assert again.solutions == scores(SCORING).solutions
    assert again.usage.estimated


async def test_lost_scoring_has_spent_a_limited_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try could pass the limit."""
    workers, handle = connected(monkeypatch, ActorDiedError(), SCORED)
    limited = SCORING.model_copy(update={"budget": ScoreBudget(reward_tokens=100)})
    with pytest.raises(EngineUnavailable):
        await workers.score(limited, 5.0)
    assert len(handle.calls) == 1


async def test_empty_reply_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that says neither a result nor an error is not taken for one that has nothing to say."""
    workers, _ = connected(monkeypatch, ScoreReply().model_dump())
    with pytest.raises(MullError, match="empty reply"):
        await workers.score(SCORING, 5.0)

"""Every way out of a search: nothing that it began outlives it, and all that it cost is counted."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from exits import FailsAtThird, FailsToRead, FailsToScore, Slow, World
from scripted_search import RIGHT, SCORES, WRONG

from service.errors import EngineUnavailable, MullError
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from strategies.best_of_n import BestOfN
from strategies.protocol import (
    Action,
    Cancel,
    Candidate,
    Ended,
    Event,
    Finish,
    Sample,
    Score,
    Step,
    Strategy,
    Vote,
)
from strategies.spec import ScoreSpec

pytestmark = pytest.mark.timeout(20)


class Own:
    """Asks for six candidates and their scores, and does `then` at the tenth event."""

    def __init__(self, then: Exception | str) -> None:
        self.then = then
        self.events = 0

    def begin(self) -> Sequence[Action]:
        return [Sample((i,)) for i in range(6)]

    def on(self, event: Event) -> Sequence[Action]:
        self.events += 1
        if self.events < 10:
            return [Score(event.node)] if isinstance(event, Step) else []
        if isinstance(self.then, Exception):
            raise self.then
        return [Finish(self.then)]

    def ranking(self) -> Sequence[Candidate]:
        return []

    def votes(self) -> Sequence[Vote]:
        return []


def world(
    policy: type[ScriptedPolicy] = Slow,
    scorer: type[ScriptedScorer] = ScriptedScorer,
    reader: type[BoxedReader] = BoxedReader,
) -> World:
    """Six candidates, four slots, a pause at every token and every score."""
    texts = [RIGHT, WRONG] * 3
    return World(policy(texts, pause=lambda: 0.001), scorer(SCORES, pause=lambda: 0.002), reader())


def best_of_six() -> Strategy:
    """Six candidates, all of them wanted."""
    return BestOfN(samples=6, early_stop="off").build(ScoreSpec())


async def test_completed() -> None:
    """The natural end."""
    here = world()
    search = here.driver(best_of_six())
    assert await search.run() == "completed"
    here.check(search)


async def test_finished_by_the_strategy() -> None:
    """The answer is decided while streams and scores are in flight."""
    here = world()
    search = here.driver(Own("decided"))
    assert await search.run() == "decided"
    here.check(search)
    assert here.policy.bills[0].generated > 0


class CutsThenFinishes(Own):
    """Cancels two candidates, and is done a few events later, before anybody can have said what they cost."""

    def on(self, event: Event) -> Sequence[Action]:
        self.events += 1
        if self.events == 3:
            return [Cancel((0,)), Cancel((1,))]
        return [Finish("decided")] if isinstance(event, Ended) else []


async def test_finished_while_what_was_cut_is_still_being_billed() -> None:
    """The end does not hurry them: their bills come."""
    here = world()
    search = here.driver(CutsThenFinishes("decided"))
    assert await search.run() == "decided"
    here.check(search)


@pytest.mark.parametrize("after_s", [0.0, 0.004, 0.01, 0.02])
async def test_deadline(after_s: float) -> None:
    """It strikes while streams run, or before any of them has begun."""
    here = world()
    search = here.driver(Own("never") if after_s == 0 else best_of_six(), deadline_s=after_s)
    assert await search.run() in {"deadline", "completed"}
    here.check(search)


async def test_budget() -> None:
    """The policy's tokens run out."""
    here = world()
    search = here.driver(best_of_six(), policy_tokens=60)
    assert await search.run() == "policy_tokens"
    here.check(search)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.006, 0.015])
async def test_client_gone(after_s: float) -> None:
    """Cancelled at any moment, before its first step too."""
    here = world()
    search = here.driver(best_of_six())
    running = asyncio.create_task(search.run())
    await asyncio.sleep(after_s)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    here.tasks.discard(running)
    here.check(search)


async def test_cancelled_again_while_it_closes() -> None:
    """Whoever is in a hurry gets no bill, but leaves nothing behind either."""
    here = world()
    search = here.driver(best_of_six())
    running = asyncio.create_task(search.run())
    await asyncio.sleep(0.006)
    running.cancel()
    await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == here.tasks
    assert (here.policy.open_streams, here.engines.policy_slots.free, here.engines.reward_slots.free) == (0, 4, 2)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: world(policy=FailsAtThird), "policy engine is gone"),
        (lambda: world(scorer=FailsToScore), "reward engine is gone"),
    ],
)
async def test_an_engine_fails(made: Callable[[], World], words: str) -> None:
    """The error is raised as it was, and what cannot be known is charged as reserved."""
    here = made()
    search = here.driver(best_of_six())
    with pytest.raises(EngineUnavailable, match=words):
        await search.run()
    here.check(search, engine_failed=True)


async def test_the_reader_fails() -> None:
    """The process that parses answers does not start, say."""
    here = world(reader=FailsToRead)
    search = here.driver(best_of_six())
    with pytest.raises(MullError, match="reader is gone"):
        await search.run()
    here.check(search)


async def test_the_strategy_fails() -> None:
    """A bug in somebody's own strategy."""
    here = world()
    search = here.driver(Own(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        await search.run()
    here.check(search)

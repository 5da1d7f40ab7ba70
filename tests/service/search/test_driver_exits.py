"""Every way out of a search: nothing that it began outlives it, and all that it cost is counted."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from scripted_search import RIGHT, SCORES, WRONG

from service.errors import EngineUnavailable, MullError
from service.search.driver import Driver, Engines
from service.search.ledger import Account
from service.search.ports import Bill, Chunk, Sampling
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.slots import Slots
from service.search.terms import Terms
from service.settings import StepForm
from strategies.best_of_n import BestOfN
from strategies.protocol import (
    Action,
    Answer,
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


class Slow(ScriptedPolicy):
    """Needs a moment to say what a stream that was stopped has cost: two tokens that nobody has seen."""

    async def stream(self, prompt: tuple[int, ...], *, bill: Bill, **how: Any) -> AsyncGenerator[Chunk, None]:
        ended = False
        try:
            async for chunk in super().stream(prompt, bill=bill, **how):
                ended = chunk.finish_reason is not None
                yield chunk
        finally:
            if not ended:
                bill.exact = False
                await asyncio.sleep(0.02)
                bill.generated, bill.exact = bill.generated + 2, True


class FailsAtThird(Slow):
    """Its third stream fails at once."""

    def stream(self, prompt, **how):  # type: ignore[no-untyped-def]
        if len(self.calls) == 2:
            raise EngineUnavailable("the policy engine is gone")
        return super().stream(prompt, **how)


class FailsToScore(ScriptedScorer):
    """Its third call fails."""

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        if len(self.bills) == 2:
            raise EngineUnavailable("the reward engine is gone")
        return await super().score(question, steps, first, bill)


class FailsToRead(BoxedReader):
    """No answer can be read."""

    async def read(self, solution: str) -> Answer | None:
        raise MullError("the reader is gone")


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


class World:
    """Engines that a search runs on, and what must be as before when it has ended."""

    def __init__(self, policy: ScriptedPolicy, scorer: ScriptedScorer, reader: BoxedReader) -> None:
        self.policy, self.scorer = policy, scorer
        self.engines = Engines(policy, Slots(4), reader, scorer, Slots(2))
        self.tasks = asyncio.all_tasks()

    def driver(self, strategy: Strategy, deadline_s: float = 5, policy_tokens: int | None = None) -> Driver:
        self.policy_account = Account("policy_tokens", policy_tokens)
        self.reward_account = Account("reward_tokens", None)
        terms = Terms(
            prompt=(1, 2, 3),
            question="what is one plus one",
            form=StepForm(),
            sampling=Sampling(temperature=1.0),
            seed=0,
            max_tokens=50,
            parallel=None,
            deadline=asyncio.get_running_loop().time() + deadline_s,
        )
        accounts = {"policy_account": self.policy_account, "reward_account": self.reward_account}
        return Driver(strategy, terms, self.engines, **accounts)

    def check(self, search: Driver, *, engine_failed: bool = False) -> None:
        """Nothing is left, and the counters are the sum of the bills; what a failed engine cannot bill costs more."""
        usage = search.counter.usage(set())
        assert self.policy.open_streams == 0
        assert asyncio.all_tasks() == self.tasks
        assert (self.engines.policy_slots.free, self.engines.reward_slots.free) == (4, 2)
        billed = sum(bill.generated for bill in self.policy.bills), sum(bill.prompt for bill in self.scorer.bills)
        assert usage.policy.prompt == sum(bill.prompt for bill in self.policy.bills)
        assert usage.policy.discarded == billed[0]
        if engine_failed:
            assert usage.policy.estimated or usage.reward.estimated
            assert self.policy_account.spent + self.reward_account.spent > sum(billed)
        else:
            assert not usage.policy.estimated
            assert not usage.reward.estimated
            assert usage.reward.submitted == billed[1]
            assert (self.policy_account.spent, self.reward_account.spent) == billed
        assert (self.policy_account.reserved, self.reward_account.reserved) == (0, 0)


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

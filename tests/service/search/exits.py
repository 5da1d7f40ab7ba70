"""Engines that fail or need a moment, and what must be as before when a search on them has ended."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from service.errors import EngineUnavailable, MullError
from service.search.driver import Driver, Engines
from service.search.ledger import Account
from service.search.ports import Bill, Chunk, Sampling
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.slots import Slots
from service.search.terms import Terms
from service.settings import StepForm
from strategies.protocol import Answer, Strategy


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

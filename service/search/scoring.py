"""Scores of steps, each asked for once: candidates that begin alike share the scores of what they share."""

import asyncio
from asyncio import Task
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from service.search.ledger import Account
from service.search.ports import Bill, Scorer
from service.search.slots import Share

Prefix = tuple[str, ...]
"""All steps up to and including the one that is scored, stripped: what a score depends on beside the question."""


def prefixes(steps: Sequence[str], first: int) -> list[Prefix]:
    """Return what the scores of `steps[first:]` depend on."""
    stripped = tuple(step.strip() for step in steps)
    return [stripped[: end + 1] for end in range(first, len(steps))]


@dataclass(slots=True)
class StepScores:
    """The scores of one question's steps, by everything up to and including the step.

    A request (started by `spawn`) belongs to no single candidate: it is cancelled when nobody waits for it any more.
    `known` may hold scores of an earlier run; `paid` is told what each request has cost.
    """

    question: str
    scorer: Scorer
    slots: Share
    account: Account
    spawn: Callable[[Coroutine[None, None, float]], Task[float]]
    paid: Callable[[Bill], None]
    known: dict[Prefix, float] = field(default_factory=dict)
    _asking: dict[Prefix, Task[float]] = field(default_factory=dict)
    _waiting: dict[Prefix, int] = field(default_factory=dict)

    def remembered(self, steps: Sequence[str], first: int) -> tuple[float, ...] | None:
        """Return the scores of `steps[first:]` if all of them are known already."""
        wanted = prefixes(steps, first)
        return tuple(self.known[prefix] for prefix in wanted) if all(p in self.known for p in wanted) else None

    async def of(self, steps: Sequence[str], first: int) -> tuple[float, ...]:
        """Return one score in [0, 1] for each of `steps[first:]`.

        Raises `BudgetExhausted("reward_tokens")`, or what the scorer raises.
        """
        wanted = prefixes(steps, first)
        for prefix in wanted:
            self._waiting[prefix] = self._waiting.get(prefix, 0) + 1
            if prefix not in self.known and prefix not in self._asking:
                self._asking[prefix] = self.spawn(self._ask(prefix))
        try:
            return tuple([await self._score(prefix) for prefix in wanted])
        finally:
            for prefix in wanted:
                self._leave(prefix)

    async def _score(self, prefix: Prefix) -> float:
        return self.known[prefix] if prefix in self.known else await asyncio.shield(self._asking[prefix])

    def _leave(self, prefix: Prefix) -> None:
        self._waiting[prefix] -= 1
        if self._waiting[prefix] == 0 and prefix in self._asking:
            # Done or not: a score is known by now, and what nobody waits for is not worth its tokens.
            self._asking.pop(prefix).cancel()

    async def _ask(self, steps: Prefix) -> float:
        last = len(steps) - 1
        async with self.slots:
            price = await self.scorer.price(self.question, steps, last)
            reservation = self.account.reserve(price)
            bill = Bill()
            try:
                scores = await self.scorer.score(self.question, steps, last, bill)
            finally:
                if not bill.exact:
                    bill.prompt = max(bill.prompt, price)  # the engine may have read it all
                reservation.settle(bill.prompt, bill)
                self.paid(bill)
        self.known[steps] = scores[0]
        return scores[0]

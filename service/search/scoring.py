"""Scores of steps, each asked for once: candidates that begin alike share the scores of what they share."""

import asyncio
from asyncio import Task
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from service.search.ledger import Account, Reservation
from service.search.ports import Scorer
from service.search.usage import Counter, add_known


@dataclass(slots=True)
class StepScores:
    """The scores of one question's steps, by everything up to and including the step.

    A request (started by `spawn`) belongs to no single candidate: when one that asked is cancelled, others still wait.
    """

    question: str
    scorer: Scorer
    slots: asyncio.Semaphore
    account: Account
    counter: Counter
    spawn: Callable[[Coroutine[None, None, float]], Task[float]]
    _known: dict[tuple[str, ...], Task[float]] = field(default_factory=dict)

    async def of(self, steps: Sequence[str], first: int) -> tuple[float, ...]:
        """Return one score in [0, 1] for each of `steps[first:]`.

        Raises `BudgetExhausted("reward_tokens")`, or what the scorer raises.
        """
        prefixes = [tuple(step.strip() for step in steps[: end + 1]) for end in range(first, len(steps))]
        for prefix in prefixes:
            if prefix not in self._known:
                self._known[prefix] = self.spawn(self._ask(prefix))
        return tuple([await asyncio.shield(self._known[prefix]) for prefix in prefixes])

    async def _ask(self, steps: tuple[str, ...]) -> float:
        last = len(steps) - 1
        async with self.slots:
            price = await self.scorer.price(self.question, steps, last)
            reservation = self.account.reserve(price, "reward_tokens")
            try:
                scores = await self.scorer.score(self.question, steps, last)
            except BaseException:
                # The engine may have read it all: what was sent is charged, though no score came of it.
                self._charge(reservation, price)
                raise
            self._charge(reservation, scores.submitted)
        self.counter.reward_cached = add_known(self.counter.reward_cached, scores.cached)
        self.counter.reward_generated += scores.generated
        return scores.values[0]

    def _charge(self, reservation: Reservation, tokens: int) -> None:
        reservation.spend(tokens)
        reservation.release()
        self.counter.reward_submitted += tokens

"""Has a judge score many solutions at once, each step of them once."""

import asyncio
from asyncio import Task
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from service.cli.reward_items import Item
from service.cli.reward_judge import Judge
from service.errors import EngineError, InvalidRequest, MullError
from service.search.ports import Bill
from service.search.request import RewardUsage
from service.search.usage import Counter
from service.settle import settled


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one solution's steps, or the one of the whole; or why there are none.

    `error` is an `InvalidRequest` where the solution cannot be scored (it is too long, say), and an `EngineError` where
    the judge's answer could not be used.
    """

    item: Item
    scores: tuple[float, ...] = ()
    error: InvalidRequest | EngineError | None = None


class Scoring:
    """Scores solutions; as many are in flight as the judge takes requests, since each waits for one at a time.

    Solutions of one question that begin alike share the scores of what they share.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._gate = asyncio.Semaphore(judge.slots)
        self._asked: dict[tuple[str, ...], Task[tuple[float, ...]]] = {}
        self._spent = Counter(question=0)

    @property
    def usage(self) -> RewardUsage:
        """What all of it has cost so far."""
        return self._spent.usage(set()).reward

    async def all(self, items: Sequence[Item], done: Callable[[int, Scored], None]) -> list[Scored]:
        """Return the scores of all `items`, in their order; `done` is told the place and the scores of each as it ends.

        Raises `MullError` with the name of its item in front where an engine is not there, or does not answer, or a
        reward model of the user's own fails. All requests have ended then, and when the call is cancelled.
        """
        try:
            return await settled([self._one(place, item, done) for place, item in enumerate(items)])
        finally:
            for task in self._asked.values():
                task.cancel()
            await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _one(self, place: int, item: Item, done: Callable[[int, Scored], None]) -> Scored:
        async with self._gate:
            try:
                scored = Scored(item, await self._scores(item))
            except InvalidRequest as error:
                scored = Scored(item, error=error)
            except MullError as error:
                if type(error) is not EngineError:  # those that are more: the engine is gone
                    raise type(error)(f"{item.name}: {error.message}", hint=error.hint, param=error.param) from error
                scored = Scored(item, error=error)
            except Exception as error:  # of a reward model of the user's own
                raise MullError(f"{item.name}: {type(error).__name__}: {error}") from error
        done(place, scored)
        return scored

    async def _scores(self, item: Item) -> tuple[float, ...]:
        reads = self._judge.scorer.reads
        steps = [item.whole] if reads == "answer" else [step.strip() for step in item.steps]
        await self._judge.scorer.price(item.question, steps, 0)  # nothing is paid for what is too long in the end
        if reads != "step":
            return await self._once(item.question, steps, 0)
        # One after the other: each finds what comes before it in the engine's prefix cache.
        scores: list[float] = []
        for end in range(len(steps)):
            scores += await self._once(item.question, steps[: end + 1], end)
        return tuple(scores)

    async def _once(self, question: str, steps: Sequence[str], first: int) -> tuple[float, ...]:
        key = (question, *steps)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(question, steps, first))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, question: str, steps: Sequence[str], first: int) -> tuple[float, ...]:
        bill = Bill()
        try:
            scores = await self._judge.scorer.score(question, steps, first, bill)
        finally:
            self._spent.judged(bill)
        if len(scores) != len(steps) - first or not all(_is_score(score) for score in scores):
            wanted = f"in [0, 1], {len(steps) - first} of them,"
            raise MullError(f"{self._judge.name} gave {list(scores)} where scores {wanted} are wanted.")
        return scores


def _is_score(score: float) -> bool:
    return not isnan(score) and 0 <= score <= 1

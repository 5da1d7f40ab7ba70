"""Asks problems with known answers and counts: right, wrong, without an answer, failed."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from service.cli.client import Client, Search
from service.cli.intervals import wilson
from service.cli.outcome import Reply
from service.cli.problems import Problem
from service.cli.terminal import sentence
from service.errors import MullError


class Grader(Protocol):
    """Tells whether an answer is the known one."""

    async def equivalent(self, gold: str, answer: str) -> bool:
        """Return whether `answer` means the same as `gold`."""
        ...


@dataclass(frozen=True, slots=True)
class Graded:
    """One asked problem: `reply` or `error` is set; an answer that is wrong or not there is not `correct`."""

    problem: Problem
    reply: Reply | None = None
    error: MullError | None = None
    correct: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of one way to search. Failed questions are in no share and no mean: `errors` counts them.

    Tokens are means per question that did not fail, cached answers with what they once cost; seconds are means
    per question that was neither failed nor cached. `None` where there is none.
    """

    questions: int
    errors: int
    correct: int
    unanswered: int
    cached: int
    policy_tokens: float | None
    reward_tokens: float | None
    seconds: float | None

    @classmethod
    def of(cls, graded: Sequence[Graded]) -> "Tally":
        """Count `graded`."""
        replies = [g.reply for g in graded if g.reply is not None]
        return cls(
            questions=len(graded),
            errors=len(graded) - len(replies),
            correct=sum(g.correct for g in graded),
            unanswered=sum(r.mull.answer is None for r in replies),
            cached=sum(r.cache == "hit" for r in replies),
            policy_tokens=_mean([r.mull.usage.policy_tokens for r in replies]),
            reward_tokens=_mean([r.mull.usage.reward.submitted for r in replies]),
            seconds=_mean([r.mull.seconds for r in replies if r.cache != "hit"]),
        )

    @property
    def replied(self) -> int:
        """Questions that did not fail."""
        return self.questions - self.errors

    @property
    def accuracy(self) -> float | None:
        """Share in [0, 1] of right answers among the questions that did not fail; `None` if all failed."""
        return self.correct / self.replied if self.replied else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `accuracy`."""
        return wilson(self.correct, self.replied)


def seed_of(seed: int, problem: Problem) -> int:
    """Return a seed in [0, 2³¹) that belongs to this problem.

    With one seed for all, the questions would share their random draws: the interval would promise too much.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{problem.id}".encode()).digest()[:4]) >> 1


async def grade(
    client: Client, grader: Grader, problem: Problem, search: Search, *, include: tuple[str, ...] = ()
) -> Graded:
    """Ask one problem, its seed derived from `search.seed`, and grade the answer."""
    search = replace(search, seed=seed_of(search.seed or 0, problem))
    try:
        reply = await client.ask(problem.problem, search, include=include)
    except MullError as error:
        return Graded(problem, error=error)
    answer = reply.mull.answer
    correct = answer is not None and await grader.equivalent(problem.answer, answer)
    return Graded(problem, reply=reply, correct=correct)


async def grade_all(
    client: Client,
    grader: Grader,
    problems: Sequence[Problem],
    search: Search,
    *,
    concurrency: int,
    done: Callable[[Graded], None],
) -> list[Graded]:
    """Grade `problems` in their order, `concurrency` ≥ 1 at a time; `done` is told each as it comes."""
    gate = asyncio.Semaphore(concurrency)

    async def one(problem: Problem) -> Graded:
        async with gate:
            graded = await grade(client, grader, problem, search)
        done(graded)
        return graded

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(problem)) for problem in problems]
    return [task.result() for task in tasks]


def describe_errors(graded: Sequence[Graded]) -> list[str]:
    """Return one line per kind of failure, the most frequent first, with the first problem it happened to."""
    failed = [(sentence(g.error), g.problem.id) for g in graded if g.error is not None]
    first = dict(reversed(failed))
    counted = Counter(text for text, _ in failed).most_common()
    return [f"{n} times: {text} (first: {first[text]})" for text, n in counted]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None

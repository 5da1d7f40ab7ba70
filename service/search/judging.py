"""Scores of given solutions: all of a request's, or an error."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from reward_models.protocol import Reads
from service.errors import InvalidRequest, NoAnswer, QuestionTooLong
from service.search.ledger import Account, BudgetExhausted
from service.search.memo import ScoreMemo
from service.search.ports import Scorer
from service.search.score_request import ScoreRequest, ScoreResult, SolutionScores
from service.search.scoring import StepScores, prefixes
from service.search.slots import Slots
from service.search.steps import StepSplitter
from service.search.tasks import Tasks
from service.search.usage import Counter
from service.settings import StepForm
from service.settle import settled

MOST_STEPS = 500
"""Steps that one solution may have."""

T = TypeVar("T")
Steps = tuple[str, ...]
_log = logging.getLogger("mull.search")


async def judge(
    request: ScoreRequest,
    *,
    deadline_s: float,
    form: StepForm,
    scorer: Scorer,
    slots: Slots,
    memo: ScoreMemo | None = None,
) -> ScoreResult:
    """Score all solutions of `request` for at most `deadline_s` seconds; `form` cuts those that are whole texts.

    Equal solutions, and equal beginnings, are scored once; what `memo` knows is not scored at all. Every solution is
    found to fit the reward model, and all of them the budget, before anything is submitted. On every way out each
    engine request has ended. Raises `InvalidRequest` (and `QuestionTooLong`) that says what to change, `NoAnswer` at
    the deadline, or `EngineError`.
    """
    begun = time.perf_counter()
    deadline = asyncio.get_running_loop().time() + deadline_s
    judging = _Judging(request, cut(request, form, scorer.reads), scorer, slots, memo or ScoreMemo())
    try:
        found = await judging.run(deadline)
    except BaseException as error:
        spent = judging.counter.usage(set()).reward
        _log.info("solutions were not scored (%s), having spent: %s", type(error).__name__, spent)
        raise
    return ScoreResult(
        solutions=tuple(found),
        reads=scorer.reads,
        usage=judging.counter.usage(set()).reward,
        seconds=time.perf_counter() - begun,
    )


def cut(request: ScoreRequest, form: StepForm, reads: Reads) -> list[Steps]:
    """Return the steps of each solution, as they are asked about: one step each where an "answer" is read.

    Of a whole text it is what comes after its thinking part, up to the end of the step with the answer, as in a search.
    Given steps make one text with the form's first separator between them, a line end where it has none. Raises
    `InvalidRequest` for a solution without any text, or with more than `MOST_STEPS` steps.
    """
    whole = reads == "answer"
    if request.solutions is not None:
        found = [_cut(text, form, whole=whole) for text in request.solutions]
    else:
        found = [_joined(steps, form) if whole else steps for steps in request.steps or ()]
    for place, steps in enumerate(found):
        where = f"{request.given}[{place}]"
        if not any(step.strip() for step in steps):
            hint = "Only what comes after a thinking part is scored; `steps` are taken as they are."
            raise InvalidRequest(f"`{where}` has no step to score.", hint=hint, param=where)
        if len(steps) > MOST_STEPS:
            raise InvalidRequest(f"`{where}` has {len(steps)} steps; {MOST_STEPS} are read at most.", param=where)
    return found


def _cut(text: str, form: StepForm, *, whole: bool) -> Steps:
    splitter = StepSplitter(form)
    steps = splitter.feed(text)
    return (splitter.solution,) if whole else (*steps, *filter(None, (splitter.rest(),)))


def _joined(steps: Steps, form: StepForm) -> Steps:
    return (next(iter(form.separators), "\n").join(step.strip() for step in steps),)


class _Judging:
    """One request for scores, run once; what it spends is in `counter`, also after an error."""

    def __init__(
        self, request: ScoreRequest, solutions: Sequence[Steps], scorer: Scorer, slots: Slots, memo: ScoreMemo
    ) -> None:
        self.counter = Counter(question=0)
        self._question = request.question
        self._given = request.given
        self._limit = request.budget.reward_tokens
        self._solutions = solutions
        self._stripped = [tuple(step.strip() for step in steps) for steps in solutions]
        self._scorer = scorer
        self._share = slots.share()
        self._tasks = Tasks()
        self._scores = StepScores(
            self._question,
            scorer,
            self._share,
            Account("reward_tokens", self._limit),
            self._tasks.spawn,
            self.counter.judged,
            memo=memo,
        )

    async def run(self, deadline: float) -> list[SolutionScores]:
        """Score all solutions until `deadline` on the event loop's clock."""
        try:
            async with asyncio.timeout_at(deadline) as limit:
                await self._check()
                scores = await self._each(self._score)
        except TimeoutError:
            if not limit.expired():
                raise
            raise NoAnswer(
                "The deadline passed before all solutions were scored.",
                hint="Raise mull.budget.deadline_ms, or send fewer solutions.",
                param="mull.budget.deadline_ms",
            ) from None
        finally:
            await self._tasks.close(deadline)
        known = zip(self._solutions, self._stripped, strict=True)
        return [SolutionScores(steps=steps, scores=scores[stripped]) for steps, stripped in known]

    async def _check(self) -> None:
        """Find what is too long for the context or the budget, before anything is submitted.

        What the memory of scores holds is not taken off: a request is within its budget or not, whoever came before.
        """
        requests = self._requests()
        needed = sum((await self._each(lambda steps: self._price(requests[steps]))).values())
        if self._limit is not None and needed > self._limit:
            raise InvalidRequest(
                f"Scoring takes {needed} reward tokens, and the budget is {self._limit}.",
                hint="Raise mull.budget.reward_tokens, or send fewer solutions.",
                param="mull.budget.reward_tokens",
            )

    def _requests(self) -> dict[Steps, list[Steps]]:
        """Return what is submitted for each distinct solution, the longest first; without a budget only that one."""
        if self._limit is None or self._scorer.reads != "step":
            return {steps: [steps] for steps in self._stripped}
        seen: set[Steps] = set()
        requests: dict[Steps, list[Steps]] = {}
        for steps in dict.fromkeys(self._stripped):
            requests[steps] = [prefix for prefix in reversed(prefixes(steps, 0)) if prefix not in seen]
            seen.update(requests[steps])
        return requests

    async def _price(self, requests: Sequence[Steps]) -> int:
        alone = self._scorer.reads == "step"
        async with self._share:
            prices = [
                await self._scorer.price(self._question, steps, len(steps) - 1 if alone else 0) for steps in requests
            ]
        return sum(prices)

    async def _score(self, steps: Steps) -> tuple[float, ...]:
        try:
            return await self._scores.of(steps, 0)
        except BudgetExhausted:
            raise NoAnswer(
                f"The budget of {self._limit} reward tokens was used up before all solutions were scored.",
                hint="Raise mull.budget.reward_tokens.",
                param="mull.budget.reward_tokens",
            ) from None

    async def _each(self, work: Callable[[Steps], Awaitable[T]]) -> dict[Steps, T]:
        """Do `work` for all distinct solutions at once; the first failure is raised."""
        places: dict[Steps, int] = {}
        for place, steps in enumerate(self._stripped):
            places.setdefault(steps, place)
        found = await settled([self._named(place, steps, work) for steps, place in places.items()])
        return dict(zip(places, found, strict=True))

    async def _named(self, place: int, steps: Steps, work: Callable[[Steps], Awaitable[T]]) -> T:
        try:
            return await work(steps)
        except QuestionTooLong as overflow:
            where = f"{self._given}[{place}]"
            hint = "Shorten the question or this solution."
            raise QuestionTooLong(f"`{where}`: {overflow.message}", hint=hint, param=where) from overflow

"""Given solutions scored: all or an error, each step once, and nothing is left of it on any way out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from reward_models.protocol import Reads
from service.errors import EngineUnavailable, InvalidRequest, NoAnswer, QuestionTooLong
from service.search.judging import MOST_STEPS, cut, judge
from service.search.memo import ScoreMemo
from service.search.ports import Bill
from service.search.score_request import ScoreRequest, ScoreResult
from service.search.scripted import ScriptedScorer
from service.search.slots import Slots
from service.settings import StepForm

pytestmark = pytest.mark.timeout(20)

QUESTION = "what is one plus one"
SCORES = {"one plus one": 0.9, "is two": 0.8, "is three": 0.1, "½ of 4 is 2 \U0001f600": 0.5}
RIGHT, WRONG = "one plus one\n\nis two", "one plus one\n\nis three"
SLOTS = 3


@dataclass
class Watched(ScriptedScorer):
    """Counts the calls in flight; one that is cancelled needs a moment to say what it has cost."""

    open: int = 0
    most_open: int = 0

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Score, and bill exactly on every way out."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await super().score(question, steps, first, bill)
        except asyncio.CancelledError:
            bill.exact = False
            await asyncio.sleep(0.02)
            bill.exact = True
            raise
        finally:
            self.open -= 1


def watched(pause: float = 0.0, reads: Reads = "step") -> Watched:
    """A scorer with a pause at every score."""
    return Watched(SCORES, pause=lambda: pause, reads=reads)


async def ask(
    scorer: ScriptedScorer,
    *solutions: str,
    deadline_s: float = 5.0,
    slots: Slots | None = None,
    memo: ScoreMemo | None = None,
    **more: Any,
) -> ScoreResult:
    """Judge `solutions`, or the `steps` in `more`."""
    given = {"solutions": solutions} if solutions else {}
    request = ScoreRequest.model_validate({"model": "tiny", "question": QUESTION, **given, **more})
    return await judge(
        request, deadline_s=deadline_s, form=StepForm(), scorer=scorer, slots=slots or Slots(SLOTS), memo=memo
    )


async def test_each_step_of_each_solution_is_scored() -> None:
    """The order is that of the request, and the steps are told as they were cut."""
    found = await ask(watched(), WRONG, RIGHT)
    assert [solution.scores for solution in found.solutions] == [(0.9, 0.1), (0.9, 0.8)]
    assert found.solutions[0].steps == ("one plus one\n\n", "is three")
    assert found.reads == "step"


async def test_given_steps_are_taken_as_they_are() -> None:
    """A separator within a step does not cut it."""
    scorer = ScriptedScorer({"one plus one": 0.9, "a\n\nb": 0.3})
    found = await ask(scorer, steps=[["one plus one", "a\n\nb"]])
    assert found.solutions[0].steps == ("one plus one", "a\n\nb")
    assert found.solutions[0].scores == (0.9, 0.3)


async def test_what_is_equal_is_scored_once() -> None:
    """Four solutions, two of them the same and all with one beginning, have three steps to score."""
    scorer = watched()
    found = await ask(scorer, RIGHT, WRONG, RIGHT, RIGHT + "\n\n")
    assert [solution.scores[-1] for solution in found.solutions] == [0.8, 0.1, 0.8, 0.8]
    assert sorted(scorer.asked) == [
        ("one plus one",),
        ("one plus one", "is three"),
        ("one plus one", "is two"),
    ]
    assert found.usage.submitted == sum(bill.prompt for bill in scorer.bills) == 3 + 5 + 5
    assert found.usage.generated == 3
    assert found.usage.estimated is False


async def test_what_is_remembered_costs_nothing() -> None:
    """A second request with the same memory submits nothing, and says what it took from there."""
    scorer, memo = watched(), ScoreMemo()
    first = await ask(scorer, RIGHT, memo=memo)
    again = await ask(scorer, RIGHT, WRONG, memo=memo)
    assert again.solutions[0] == first.solutions[0]
    assert len(scorer.asked) == 3
    assert again.usage.submitted == 5
    assert again.usage.remembered == 2


async def test_solutions_are_scored_at_once_within_the_slots() -> None:
    """As many requests are in flight as the engine has slots, of all solutions together."""
    scorer = watched(pause=0.005)
    steps = [[step] for step in SCORES]
    slots = Slots(SLOTS)
    await ask(scorer, steps=steps * 3, slots=slots)
    assert scorer.most_open == SLOTS
    assert slots.free == SLOTS


async def test_an_outcome_model_reads_a_solution_as_one_step() -> None:
    """A text without its thinking part, and given steps joined by the separator of the form."""
    scorer = ScriptedScorer({RIGHT: 0.7}, reads="answer")
    text = await ask(scorer, f"<think>hm\n\nhm</think>{RIGHT}\n\n")
    steps = await ask(scorer, steps=[["one plus one\n", "is two"]])
    assert [found.solutions[0].scores for found in (text, steps)] == [(0.7,), (0.7,)]
    assert scorer.asked == [(RIGHT,), (RIGHT,)]


async def test_a_model_that_reads_whole_solutions_is_asked_once_for_each() -> None:
    """All steps of a solution come from one request."""
    scorer = watched(reads="solution")
    found = await ask(scorer, RIGHT)
    assert scorer.asked == [("one plus one", "is two")]
    assert found.solutions[0].scores == (0.9, 0.8)


def request(**given: Any) -> ScoreRequest:
    return ScoreRequest.model_validate({"model": "tiny", "question": QUESTION, **given})


@pytest.mark.parametrize("reads", ["step", "solution", "answer"])
@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"solutions": ["fine", ""]}, "solutions[1]"),
        ({"solutions": ["fine", " \n\n \t"]}, "solutions[1]"),
        ({"solutions": ["<think>all of it is thinking</think>\n"]}, "solutions[0]"),
        ({"solutions": ["<think>never closed"]}, "solutions[0]"),
        ({"steps": [["fine"], []]}, "steps[1]"),
        ({"steps": [["fine"], ["", " "]]}, "steps[1]"),
    ],
)
def test_a_solution_without_a_step_is_named(given: dict[str, Any], where: str, reads: Reads) -> None:
    """There is nothing that could have a score."""
    with pytest.raises(InvalidRequest, match="no step") as caught:
        cut(request(**given), StepForm(), reads)
    assert caught.value.param == where


def test_an_empty_step_among_others_is_a_step() -> None:
    """Given steps are not judged by us: it gets a score like the others."""
    assert cut(request(steps=[["a", "", "b"]]), StepForm(), "step") == [("a", "", "b")]


def test_thinking_is_not_cut_into_steps() -> None:
    """Only what comes after it is scored, up to the end of the step with the answer."""
    text = "<think>a\n\nb</think>one\n\nit is \\boxed{2}\n\nand more"
    assert cut(request(solutions=[text]), StepForm(), "step") == [("one\n\n", "it is \\boxed{2}\n\n")]


def test_more_steps_than_are_read_are_refused() -> None:
    """The limit is named."""
    with pytest.raises(InvalidRequest, match=str(MOST_STEPS)):
        cut(request(solutions=["a\n\n" * (MOST_STEPS + 1)]), StepForm(), "step")


class Short(Watched):
    """Its context holds five words."""

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Refuse what has more words."""
        words = sum(len(step.split()) for step in steps)
        if words > 5:
            raise QuestionTooLong(f"{words} words; the reward model takes 5 in all.")
        return await super().price(question, steps, first)


async def test_a_solution_that_is_too_long_is_named_before_anything_is_submitted() -> None:
    """The third solution does not fit: the first two are not scored either."""
    scorer = Short(SCORES)
    with pytest.raises(QuestionTooLong, match="takes 5 in all") as caught:
        await ask(scorer, RIGHT, WRONG, RIGHT + "\n\nis three")
    assert caught.value.param == "solutions[2]"
    assert "`solutions[2]`" in caught.value.message
    assert scorer.asked == []


@pytest.mark.parametrize(("reads", "needed"), [("step", 13), ("solution", 18)])
async def test_a_budget_that_is_too_small_is_told_before_anything_is_submitted(reads: Reads, needed: int) -> None:
    """What is equal is counted once: steps of 3 words, and two of 5; or two whole solutions of 2 * 5 less 1."""
    scorer = watched(reads=reads)
    scorer.price = whole_price if reads == "solution" else scorer.price  # type: ignore[method-assign]
    with pytest.raises(InvalidRequest, match=f"takes {needed} reward tokens, and the budget is {needed - 1}") as caught:
        await ask(scorer, RIGHT, WRONG, RIGHT, budget={"reward_tokens": needed - 1})
    assert caught.value.param == "mull.budget.reward_tokens"
    assert scorer.asked == []


async def whole_price(question: str, steps: Sequence[str], first: int) -> int:
    """One request for all steps: 9 words."""
    return 9


async def test_a_budget_that_is_just_enough_is_enough() -> None:
    """Nothing is estimated, so the last token counts."""
    found = await ask(watched(), RIGHT, WRONG, RIGHT, budget={"reward_tokens": 13})
    assert found.usage.submitted == 13


class Dear(Watched):
    """Costs more than it says beforehand."""

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Bill ten tokens more."""
        scores = await super().score(question, steps, first, bill)
        bill.prompt += 10
        return scores


async def test_a_budget_that_runs_out_on_the_way_gives_no_scores() -> None:
    """Where the engine counts more than was priced, half of the scores are no answer."""
    scorer = Dear(SCORES)
    with pytest.raises(NoAnswer, match="budget of 13 reward tokens"):
        await ask(scorer, RIGHT, WRONG, slots=Slots(1), budget={"reward_tokens": 13})
    assert 0 < len(scorer.bills) < 3


class Fails(Watched):
    """Cannot score one step, after a while."""

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Fail at that step."""
        if steps[-1] == "is three":
            await asyncio.sleep(0.005)
            raise EngineUnavailable("the reward engine is gone")
        return await super().score(question, steps, first, bill)


def slow(kind: type[Watched] = Watched) -> Watched:
    return kind(SCORES, pause=lambda: 30.0)


async def test_a_failure_fails_the_request_and_ends_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """No score stands for one that failed; what the others had cost is in the log."""
    scorer, slots, before = slow(Fails), Slots(SLOTS), asyncio.all_tasks()
    with caplog.at_level("INFO", logger="mull.search"), pytest.raises(EngineUnavailable):
        await ask(scorer, "is three", RIGHT, slots=slots)
    assert (scorer.open, slots.free) == (0, SLOTS)
    assert asyncio.all_tasks() == before
    assert all(bill.exact for bill in scorer.bills)
    assert "EngineUnavailable" in caplog.text


async def test_at_the_deadline_there_is_no_answer() -> None:
    """What is in flight is given up and billed before the error is told."""
    scorer, slots, before = slow(), Slots(SLOTS), asyncio.all_tasks()
    with pytest.raises(NoAnswer, match="deadline") as caught:
        await ask(scorer, RIGHT, WRONG, deadline_s=0.05, slots=slots)
    assert caught.value.param == "mull.budget.deadline_ms"
    assert (scorer.open, slots.free) == (0, SLOTS)
    assert asyncio.all_tasks() == before
    assert scorer.bills
    assert all(bill.exact for bill in scorer.bills)


async def test_who_cancels_leaves_nothing_behind() -> None:
    """As for a client that has gone."""
    scorer, slots, before = slow(), Slots(SLOTS), asyncio.all_tasks()
    judging = asyncio.create_task(ask(scorer, RIGHT, WRONG, slots=slots))
    await until(lambda: scorer.open > 0)
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    assert (scorer.open, slots.free) == (0, SLOTS)
    assert asyncio.all_tasks() == before
    assert all(bill.exact for bill in scorer.bills)


async def until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110  # the scorer gives no sign
        await asyncio.sleep(0.001)

import asyncio
from collections.abc import Sequence

import pytest

from reward_models.critique import first_wrong, shares_right
from reward_models.processbench import Found, LabelledSolution
from service.cli.reward_bench import measured
from service.cli.reward_items import Item
from service.cli.reward_judge import Judge
from service.cli.reward_scoring import Scored, Scoring
from service.errors import EngineError, EngineUnavailable, QuestionTooLong
from service.search.ports import Bill
from service.search.scripted import ScriptedScorer

WORTH = {"a": 0.9, "b": 0.5, "c": 0.1, "d": 0.3}


def items(*solutions: str) -> list[Item]:
    """Solutions of one question; a letter is a step."""
    return [Item(f"s{place}", "?", tuple(text), text) for place, text in enumerate(solutions)]


async def scores_of(scoring: Scoring, wanted: Sequence[Item]) -> list[tuple[float, ...]]:
    """The scores alone."""
    return [scored.scores for scored in await scoring.all(wanted, lambda place, scored: None)]


async def test_what_solutions_share_is_scored_once() -> None:
    """The same steps before the same step; the bill is the sum of what was asked."""
    scorer = ScriptedScorer(WORTH)
    scoring = Scoring(Judge("scripted", scorer, slots=4))
    assert await scores_of(scoring, items("abc", "abd", "abc", "b")) == [
        (0.9, 0.5, 0.1),
        (0.9, 0.5, 0.3),
        (0.9, 0.5, 0.1),
        (0.5,),
    ]
    assert sorted(scorer.asked) == [("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "d"), ("b",)]
    assert scoring.usage.submitted == sum(bill.prompt for bill in scorer.bills) == 1 + 2 + 3 + 3 + 1


async def test_a_judge_of_whole_solutions_is_asked_once_for_each() -> None:
    """For the scores of all steps at once; equal solutions share them."""
    scorer = ScriptedScorer(WORTH, reads="solution")
    scoring = Scoring(Judge("scripted", scorer, slots=4))
    assert await scores_of(scoring, items("ab", "abc", "ab")) == [(0.9, 0.5), (0.9, 0.5, 0.1), (0.9, 0.5)]
    assert sorted(scorer.asked) == [("a", "b"), ("a", "b", "c")]


class Crowded(ScriptedScorer):
    """Counts its requests in flight."""

    def __init__(self) -> None:
        super().__init__(WORTH)
        self.now = self.most = 0
        self.begun = asyncio.Event()

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Take its time, and fail where a step says so."""
        self.now += 1
        self.most = max(self.most, self.now)
        self.begun.set()
        try:
            await asyncio.sleep(0 if "!" in steps else 0.001)
            if "!" in steps:
                raise EngineUnavailable("The reward model cannot be reached.")
            return await super().score(question, steps, first, bill)
        finally:
            self.now -= 1


async def test_no_more_requests_are_in_flight_than_the_engine_has_slots() -> None:
    """And as many as that, where there is enough to ask."""
    scorer = Crowded()
    await scores_of(Scoring(Judge("crowded", scorer, slots=3)), items("aa", "ab", "ac", "ba", "bb", "bc", "ca", "cb"))
    assert scorer.most == 3


async def test_when_the_engine_is_gone_nothing_is_left_running() -> None:
    """The error names the solution at which it was seen."""
    scorer = Crowded()
    with pytest.raises(EngineUnavailable, match=r"s1: The reward model cannot be reached\."):
        await scores_of(Scoring(Judge("crowded", scorer, slots=8)), items("abc", "!", "bca"))
    assert scorer.now == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_when_the_user_leaves_nothing_is_left_running() -> None:
    """What was in flight is cancelled, and has ended."""
    scorer = Crowded()
    work = asyncio.create_task(scores_of(Scoring(Judge("crowded", scorer, slots=8)), items("abc", "bca")))
    await scorer.begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert scorer.now == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_judge_with_a_verdict_needs_no_threshold() -> None:
    """Its majority is compared; without a verdict it has missed, and what it could not be shown is left out."""
    judge = Judge("critic", ScriptedScorer({}, reads="solution"), slots=1, names=first_wrong)
    solutions = [
        LabelledSolution(f"s{place}", "?", ("a", "b", "c"), label == -1, label)
        for place, label in enumerate([1, -1, 2, 0])
    ]
    found = [
        Scored(item, scores, error)
        for item, scores, error in zip(
            items("abc", "abc", "abc", "abc"),
            [shares_right([1, 1, -1], 3), shares_right([-1, -1, 0], 3), (), ()],
            [None, None, EngineError("No critique names a step."), QuestionTooLong("Too long.")],
            strict=True,
        )
    ]
    usage = Scoring(judge).usage
    (row,) = measured("file", judge, solutions, found, threshold=0.5, usage=usage, seconds=1.0).rows
    assert (row.chosen_on, row.threshold) == ("verdict", None)
    assert row.found == Found(wrong=(True, False), right=(True,))

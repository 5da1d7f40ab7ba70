"""What vLLM and Mull make of a checkpoint is what its authors' own code makes of it."""

import asyncio
from typing import Any

import pytest
from solutions import QUESTION, SOLUTIONS

from service.engines.reward import VllmScorer
from service.errors import QuestionTooLong
from service.search.ports import Bill

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.mark.parametrize("case", SOLUTIONS)
async def test_every_score_is_the_authors(served: Any, scorer: VllmScorer, case: str) -> None:
    """To 1e-4, whatever the steps say; and the engine reads as many tokens as the authors' code."""
    question, steps = SOLUTIONS[case]
    steps = served.solution(steps)
    expected = served.reference(question, steps)
    bill = Bill()
    assert await scorer.score(question, steps, 0, bill) == pytest.approx(expected.scores, abs=1e-4)
    assert (bill.prompt, bill.exact) == (served.submitted(expected.tokens), True)


async def test_the_steps_scores_differ(served: Any) -> None:
    """A reward model that says the same of everything could be read anywhere."""
    scores = [
        score
        for question, steps in SOLUTIONS.values()
        for score in served.reference(question, served.solution(steps)).scores
    ]
    assert max(scores) - min(scores) > 0.5
    assert len({round(score, 3) for score in scores}) > len(scores) // 2


async def test_a_score_is_the_same_whatever_was_scored_before(served: Any, scorer: VllmScorer) -> None:
    """From any step on, and from the prefix cache; only what is asked for is paid, if not read with the rest."""
    question, steps = SOLUTIONS["twelve steps"]
    steps = served.solution(steps)
    expected = served.reference(question, steps)
    for first in range(0, len(steps), 5):
        bill = Bill()
        assert await scorer.score(question, steps, first, bill) == pytest.approx(expected.scores[first:], abs=1e-4)
        assert bill.prompt == served.submitted(expected.tokens, first)


async def test_scores_that_are_asked_for_at_once_are_the_same(served: Any, scorer: VllmScorer) -> None:
    """An engine that reads many prompts in one batch reads each as it would alone."""
    asked = [(question, served.solution(steps)) for question, steps in SOLUTIONS.values()]
    bills = [Bill() for _ in asked]
    scored = await asyncio.gather(
        *(scorer.score(question, steps, 0, bill) for (question, steps), bill in zip(asked, bills, strict=True))
    )
    for (question, steps), scores in zip(asked, scored, strict=True):
        assert scores == pytest.approx(served.reference(question, steps).scores, abs=1e-4)
    assert all(bill.exact for bill in bills)


async def test_a_prompt_of_just_the_models_context_is_scored_and_a_longer_one_refused(
    served: Any, scorer: VllmScorer
) -> None:
    """The error names the limit, and the engine has not been asked."""
    await scorer.open()
    around = await scorer.price(QUESTION, ["1"], 0) - 1
    room = scorer.context - around - (1 if served.generates else 0)
    fits = "1" * room  # one token each: no vocabulary here has two of them in one
    bill = Bill()
    assert await scorer.score(QUESTION, [fits], 0, bill) == pytest.approx(
        served.reference(QUESTION, [fits]).scores, abs=1e-4
    )
    before = await served.requests()
    with pytest.raises(QuestionTooLong, match=f"{scorer.context} in all"):
        await scorer.score(QUESTION, [fits + "1"], 0, bill)
    assert await served.requests() == before

"""A search by each family: the tiny policy writes, what is served here judges."""

from typing import Any

import pytest

from service.errors import InvalidRequest
from service.library import PolicySettings, solve
from service.search.steps import StepSplitter
from service.settings import StepForm

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

QUESTION = "Bo has 12 pens. Bo has 5 fewer pens than Gus. How many pens does Gus have?"


def steps_of(text: str) -> list[str]:
    splitter = StepSplitter(StepForm())
    return [step.strip() for step in [*splitter.feed(text), splitter.rest()] if step.strip()]


async def test_candidates_have_the_authors_scores(served: Any, stack: Any) -> None:
    """Whatever is read at once: steps, solutions or answers; and the engine reads nothing that is not on the bill."""
    policy = PolicySettings.model_validate({"model": "tiny-policy", "url": stack.policy_url})
    strategy = {"name": "best_of_n", "samples": 6, "early_stop": "off"}
    before = await served.counted()
    result = await solve(QUESTION, policy=policy, reward=served.settings, strategy=strategy, seed=4)
    after = await served.counted()
    assert len(result.candidates) == 6
    for candidate in result.candidates:
        expected = served.reference(QUESTION, served.solution(steps_of(candidate.text)))
        assert candidate.scores == pytest.approx(expected.scores, abs=1e-4)
    assert result.usage.reward.submitted == after.prompt - before.prompt
    assert not result.usage.reward.estimated


async def test_trees_are_guided_by_what_judges_steps(served: Any, stack: Any) -> None:
    """The best candidate's score is that of its last step; an outcome reward model is refused."""
    policy = PolicySettings.model_validate({"model": "tiny-policy", "url": stack.policy_url})
    strategy = {"name": "beam_search", "beams": 2, "expansions": 2}
    searching = solve(QUESTION, policy=policy, reward=served.settings, strategy=strategy, score={"steps": "last"})
    if served.reads == "answer":
        with pytest.raises(InvalidRequest, match="scores whole solutions"):
            await searching
        return
    best = (await searching).choices[0]
    expected = served.reference(QUESTION, steps_of(best.text))
    assert best.score == pytest.approx(expected.scores[-1], abs=1e-4)

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.math_shepherd import MathShepherd
from reward_models.protocol import Answer, AtTags, Chat, Classes, Family, NextToken, Prompt, Tag, Text
from reward_models.qwen_prm import QwenPRM
from reward_models.registry import FAMILIES
from reward_models.rlhflow import RLHFlow
from reward_models.skywork import Skywork

STEPWISE = [FAMILIES["label_token"](), MathShepherd(), RLHFlow(), Skywork()]
LABELLED = [FAMILIES["label_token"](), MathShepherd(), RLHFlow()]

STEPS = st.lists(st.text(max_size=12).map(str.strip), min_size=1, max_size=5)
LOGPROBS = st.floats(min_value=-9999.0, max_value=0.0)
PROBABILITIES = st.floats(min_value=0.0, max_value=1.0)


def said(prompt: Prompt) -> str:
    """What the model is shown, without the opening of its own turn."""
    shown = []
    for part in prompt:
        match part:
            case Text(text):
                shown.append(text)
            case Tag(token):
                shown.append(str(token))
            case Chat(turns):
                shown += [f"<{turn.role}>{turn.content}<end>" for turn in turns]
    return "".join(shown)


def prompts(family: Family, question: str, steps: Sequence[str], first: int = 0) -> list[Prompt]:
    requests = family.requests(question, steps, first)
    return [request.prompt for request in requests if isinstance(request, NextToken | AtTags | Classes)]


@pytest.mark.parametrize("family", STEPWISE, ids=lambda family: family.name)
@given(question=st.text(max_size=12), steps=STEPS)
def test_a_step_s_prompt_begins_with_that_of_the_step_before(family: Family, question: str, steps: list[str]) -> None:
    """What the engine has computed for one step is in its cache for the next."""
    shown = [said(prompt) for prompt in prompts(family, question, steps)]
    assert len(shown) == len(steps)
    assert all(longer.startswith(shorter) for shorter, longer in pairwise(shown))


@pytest.mark.parametrize("family", STEPWISE, ids=lambda family: family.name)
@given(steps=STEPS, data=st.data())
def test_steps_that_have_a_score_are_context_only(family: Family, steps: list[str], data: st.DataObject) -> None:
    """`first` drops requests, and changes none."""
    first = data.draw(st.integers(0, len(steps) - 1))
    assert family.requests("q", steps, first) == family.requests("q", steps, 0)[first:]


@pytest.mark.parametrize("family", STEPWISE, ids=lambda family: family.name)
@given(steps=STEPS, data=st.data())
def test_a_prompt_does_not_know_what_comes_after(family: Family, steps: list[str], data: st.DataObject) -> None:
    """A step's score is the same in every solution that begins in the same way."""
    length = data.draw(st.integers(1, len(steps)))
    assert family.requests("q", steps[:length], 0) == family.requests("q", steps, 0)[:length]


@pytest.mark.parametrize("family", LABELLED, ids=lambda family: family.name)
@given(rows=st.lists(st.tuples(LOGPROBS, LOGPROBS), max_size=5))
def test_label_scores_are_probabilities_that_favour_the_likelier(
    family: Family, rows: list[tuple[float, float]]
) -> None:
    """One per answer, above one half exactly where the good label is the likelier one."""
    scores = family.scores([Answer((row,)) for row in rows], 0)
    assert len(scores) == len(rows)
    for score, (good, bad) in zip(scores, rows, strict=True):
        assert 0.0 <= score <= 1.0
        assert (score >= 0.5) == (good >= bad) or score == pytest.approx(0.5)


@pytest.mark.parametrize("family", [MathShepherd(), RLHFlow()], ids=lambda family: family.name)
@pytest.mark.parametrize("rows", [(), ((-1.0,),), ((-1.0, -2.0, -3.0),), ((-1.0, float("nan")),), ((-1.0, -1.0),) * 2])
def test_labels_that_were_not_read_are_no_score(family: Family, rows: tuple[tuple[float, ...], ...]) -> None:
    """A score that cannot be had is an error."""
    with pytest.raises(ValueError, match=r"rows|labels|probability"):
        family.scores([Answer(rows)], 0)


@given(good=st.lists(PROBABILITIES, min_size=1, max_size=6), data=st.data())
def test_a_solution_read_at_once_has_the_same_scores_in_part(good: list[float], data: st.DataObject) -> None:
    """`first` drops rows, and changes none."""
    first = data.draw(st.integers(0, len(good) - 1))
    answers = [Answer(tuple((1.0 - score, score) for score in good))]
    assert QwenPRM().scores(answers, first) == tuple(good[first:])

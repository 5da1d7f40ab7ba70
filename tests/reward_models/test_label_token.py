from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.label_token import LabelToken, share
from reward_models.protocol import Answer, Chat, Text, Turn

FAMILY = LabelToken()
LOGPROBS = st.floats(min_value=-9999.0, max_value=0.0)


def test_each_prompt_is_the_question_and_all_steps_so_far() -> None:
    """Every step, the last one included, is followed by the separator."""
    question = Chat((Turn("user", "q"),), reply=True)
    prompts = [request.prompt for request in FAMILY.requests("q", ["a", "b"], 0)]
    assert prompts == [
        (question, Text("a"), Text("\n\n")),
        (question, Text("a"), Text("\n\n"), Text("b"), Text("\n\n")),
    ]


def test_labels_are_asked_for_and_never_part_of_a_prompt() -> None:
    """What is read must not change what is read next."""
    for request in FAMILY.requests("q", ["a", "b"], 0):
        assert request.labels == ("<good>", "<bad>")
        assert not {Text("<good>"), Text("<bad>")} & set(request.prompt)


def test_the_score_is_the_share_of_the_good_label() -> None:
    """P(good) = 0.3 and P(bad) = 0.1 of the whole vocabulary make 0.75."""
    assert FAMILY.scores([Answer(((log(0.3), log(0.1)),))], 0) == (pytest.approx(0.75),)


@given(LOGPROBS, LOGPROBS)
def test_shares_stay_in_range_and_are_complements(good: float, bad: float) -> None:
    """No log-probability overflows, and swapping the labels turns p into 1 - p."""
    assert 0.0 <= share(good, bad) <= 1.0
    assert share(good, bad) + share(bad, good) == pytest.approx(1.0)


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_a_share_is_a_softmax(good: float, bad: float) -> None:
    """exp(good) / (exp(good) + exp(bad)), where that can be computed directly."""
    assert share(good, bad) == pytest.approx(exp(good) / (exp(good) + exp(bad)))


@pytest.mark.parametrize("step", ["a b", "a b\n\n", " a b \n", "\n\na b\n\n"])
def test_a_step_is_tokenised_without_what_surrounds_it(step: str) -> None:
    """The policy's separator and white space are not the step's."""
    (request,) = FAMILY.requests("q", [step], 0)
    assert request.prompt[1] == Text("a b")


def test_a_separator_that_is_a_word_is_taken_off_too() -> None:
    """It must not be seen twice."""
    (request,) = LabelToken(step_separator=" ки\n").requests("q", ["1 + 1 = 2 ки\n"], 0)
    assert request.prompt[1:] == (Text("1 + 1 = 2"), Text(" ки\n"))

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.label_token import LabelToken, LabelTokenModel
from reward_models.registry import FAMILIES

FAMILY = LabelToken(good_token="<good>", bad_token="<bad>", step_separator="\n\n")
MODEL = LabelTokenModel(labels=(8, 9), separator=(5,))
LOGPROBS = st.floats(min_value=-9999.0, max_value=0.0)


def test_each_prompt_is_the_question_and_all_steps_so_far() -> None:
    """Every step, the last one included, is followed by the separator, and a prompt begins with the one before it."""
    prompts = [request.prompt for request in MODEL.requests((1, 2), [(3,), (4, 4)], 0)]
    assert prompts == [(1, 2, 3, 5), (1, 2, 3, 5, 4, 4, 5)]


def test_labels_are_asked_for_and_never_part_of_a_prompt() -> None:
    """What is read must not change what is read next."""
    requests = MODEL.requests((1, 2), [(3,), (4,)], 0)
    assert all(request.labels == (8, 9) and not {8, 9} & set(request.prompt) for request in requests)


def test_only_steps_from_first_on_are_asked_for() -> None:
    """A step that has its score is context only."""
    assert MODEL.requests((1,), [(2,), (3,), (4,)], 2) == MODEL.requests((1,), [(2,), (3,), (4,)], 0)[2:]
    assert MODEL.requests((1,), [(2,)], 1) == []


def test_the_score_is_the_share_of_the_good_label() -> None:
    """P(good) = 0.3 and P(bad) = 0.1 of the whole vocabulary make 0.75."""
    assert MODEL.score([log(0.3), log(0.1)]) == pytest.approx(0.75)


@given(LOGPROBS, LOGPROBS)
def test_scores_stay_in_range_and_labels_are_complements(good: float, bad: float) -> None:
    """No log-probability overflows, and swapping the labels turns p into 1 - p."""
    score = MODEL.score([good, bad])
    assert 0.0 <= score <= 1.0
    assert score + MODEL.score([bad, good]) == pytest.approx(1.0)


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_the_score_is_a_softmax(good: float, bad: float) -> None:
    """exp(good) / (exp(good) + exp(bad)), where that can be computed directly."""
    assert MODEL.score([good, bad]) == pytest.approx(exp(good) / (exp(good) + exp(bad)))


@pytest.mark.parametrize("text", ["a b", "a b\n\n", " a b \n", "\n\na b\n\n"])
def test_a_step_is_tokenised_without_what_surrounds_it(text: str) -> None:
    """The policy's separator and white space are not the step's."""
    assert FAMILY.step(text) == "a b"


def test_a_separator_that_is_a_word_is_taken_off_too() -> None:
    """Math-Shepherd's step tag must not be seen twice."""
    assert LabelToken("+", "-", " ки\n").step("1 + 1 = 2 ки\n") == "1 + 1 = 2"


def test_bound_labels_keep_their_order() -> None:
    """Good comes first, as `score` reads it."""
    bound = FAMILY.bind({"good_token": (8,), "bad_token": (9,), "step_separator": (5, 6)})
    assert bound == LabelTokenModel(labels=(8, 9), separator=(5, 6))


@pytest.mark.parametrize(
    ("good", "bad", "complaint"), [((8, 1), (9,), "2 tokens"), ((8,), (), "0 tokens"), ((8,), (8,), "both token 8")]
)
def test_labels_that_cannot_be_told_apart_are_refused(
    good: tuple[int, ...], bad: tuple[int, ...], complaint: str
) -> None:
    """A label is one token, and not the other label's."""
    with pytest.raises(ValueError, match=complaint):
        FAMILY.bind({"good_token": good, "bad_token": bad, "step_separator": (5,)})


def test_families_are_found_by_their_name() -> None:
    """The registry holds what mull.yaml may name."""
    assert FAMILIES["label_token"] is LabelToken

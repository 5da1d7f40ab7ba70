import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.protocol import Answer, Chat, LastValue, Turn
from reward_models.qwen_rm import QwenRM

FAMILY = QwenRM()
VALUES = st.floats(allow_nan=False, allow_infinity=True)


def score(value: float) -> float:
    (read,) = FAMILY.scores([Answer(((value,),))], 0)
    return read


def test_the_whole_chat_is_read_at_its_end() -> None:
    """System prompt, question and answer, as the template closes them."""
    (request,) = FAMILY.requests("q", ["a\n\nb"], 0)
    system = Turn("system", r"Please reason step by step, and put your final answer within \boxed{}.")
    chat = Chat((system, Turn("user", "q"), Turn("assistant", "a\n\nb")), reply=False)
    assert request == LastValue((chat,))


@given(VALUES, VALUES)
def test_scores_rank_as_the_values_do(one: float, other: float) -> None:
    """A sigmoid: best-of-N under it is the authors' RM@N, and no value overflows."""
    assert 0.0 <= score(one) <= 1.0
    if one <= other:
        assert score(one) <= score(other)


def test_a_value_of_zero_is_one_half() -> None:
    """The sigmoid is not shifted."""
    assert score(0.0) == 0.5


@pytest.mark.parametrize("rows", [(), ((1.0,), (2.0,)), ((1.0, 2.0),), ((float("nan"),),)])
def test_what_is_no_single_value_is_no_score(rows: tuple[tuple[float, ...], ...]) -> None:
    """One number for the answer, or none."""
    with pytest.raises(ValueError, match=r"rows|values|probability"):
        FAMILY.scores([Answer(rows)], 0)

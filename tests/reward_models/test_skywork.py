import pytest

from reward_models.protocol import Answer, Classes, Prompt, Tag, Text
from reward_models.skywork import Skywork

FAMILY = Skywork()
QUESTION = Text("<|im_start|>q\n")
NEWLINE = Tag("\n")


def test_each_prompt_ends_with_the_newline_of_its_step() -> None:
    """The authors' `prepare_input`: BOS, question and newline as one text, then each step and its newline apart."""
    assert FAMILY.requests("q", ["a", "b"], 0) == [
        Classes((QUESTION, Text("a"), NEWLINE)),
        Classes((QUESTION, Text("a"), NEWLINE, Text("b"), NEWLINE)),
    ]


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("", (Text(""), NEWLINE)),
        ("a\nb", (Text("a"), NEWLINE, Text("b"), NEWLINE)),
        ("a\n\nb", (Text("a"), NEWLINE, Text(""), NEWLINE, Text("b"), NEWLINE)),
    ],
)
def test_every_line_is_tokenised_by_itself(step: str, parts: Prompt) -> None:
    """As the authors split a response; the last line's newline is where the step is read."""
    (request,) = FAMILY.requests("q", [step], 0)
    assert request.prompt == (QUESTION, *parts)


def test_the_score_is_the_one_class() -> None:
    """vLLM has taken the sigmoid of the value head."""
    assert FAMILY.scores([Answer(((0.25,),)), Answer(((1.0,),))], 0) == (0.25, 1.0)


@pytest.mark.parametrize("rows", [(), ((0.5,), (0.5,)), ((0.5, 0.5),), ((-0.7,),), ((float("nan"),),)])
def test_what_is_no_single_probability_is_no_score(rows: tuple[tuple[float, ...], ...]) -> None:
    """A model that was not converted, or not as a classifier of one class."""
    with pytest.raises(ValueError, match=r"rows|classes|probability"):
        FAMILY.scores([Answer(rows)], 0)

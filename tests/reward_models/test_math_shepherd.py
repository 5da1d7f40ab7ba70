import pytest

from reward_models.math_shepherd import MathShepherd
from reward_models.protocol import NextToken, Text

FAMILY = MathShepherd()


def texts(question: str, *steps: str) -> list[str]:
    parts = [part for request in FAMILY.requests(question, steps, 0) for part in request.prompt]
    return [part.text for part in parts if isinstance(part, Text)]


def test_prompts_are_those_of_the_authors_example() -> None:
    """`question step ки`, then a line for each further step; the tag comes last, where the labels are read."""
    assert texts("How many eggs?", "Step 1: 16 eggs.", "Step 2: 13 left.") == [
        "How many eggs? Step 1: 16 eggs. ки",
        "How many eggs? Step 1: 16 eggs. ки\nStep 2: 13 left. ки",
    ]


def test_a_prompt_is_one_text_between_the_special_tokens_of_the_model() -> None:
    """SentencePiece puts a space before every text: pieces would not be the same tokens."""
    assert FAMILY.requests("q", ["a"], 0) == [NextToken((Text("q a ки", special=True),), (648, 387))]


@pytest.mark.parametrize("step", ["a ки", " a ки\n", "a"])
def test_a_tag_that_the_policy_wrote_is_not_doubled(step: str) -> None:
    """A policy trained on Math-Shepherd ends its steps with the tag itself."""
    assert texts("q", step) == ["q a ки"]


@pytest.mark.parametrize(
    ("question", "steps", "last"),
    [
        ("q", [""], "q ки"),
        ("q", ["a", ""], "q a ки\n ки"),
        ("q", ["", "b"], "q ки\nb ки"),
        ("", ["a"], "a ки"),
        ("q ", ["", ""], "q ки\n ки"),
    ],
)
def test_one_space_stands_before_each_tag(question: str, steps: list[str], last: str) -> None:
    """Also where there is nothing to say: the tag with its space is one token, two spaces are another."""
    assert texts(question, *steps)[-1] == last


def test_a_tag_within_a_step_stays() -> None:
    """Only the one at the end is read."""
    assert texts("q", "a ки b") == ["q a ки b ки"]


def test_labels_are_looked_for_in_the_vocabulary() -> None:
    """Each must be one token, and not the other's."""
    assert FAMILY.tokens() == {"good_token": 648, "bad_token": 387}

import pytest

from reward_models.protocol import Answer, AtTags, Chat, Tag, Text, Turn
from reward_models.qwen_prm import INSTRUCTION, QwenPRM

FAMILY = QwenPRM()
QUESTION = Chat((Turn("system", INSTRUCTION), Turn("user", "q")), reply=True)
TAG = Tag("<extra_0>")


def test_all_steps_are_one_prompt_with_a_tag_after_each() -> None:
    """The card's chat, up to the last tag: the model does not look ahead."""
    assert FAMILY.requests("q", ["a", "b"], 0) == [AtTags((QUESTION, Text("a"), TAG, Text("b"), TAG))]


def test_a_tag_that_a_step_writes_is_text() -> None:
    """Only the tags of the prompt's form are places to read at."""
    (request,) = FAMILY.requests("q", ["a<extra_0>b"], 0)
    assert request.prompt == (QUESTION, Text("a<extra_0>b"), TAG)


def test_steps_with_scores_are_read_again_and_dropped() -> None:
    """Nothing of this form is cached: the whole solution is asked for, and only what is new is told."""
    assert FAMILY.requests("q", ["a", "b"], 1) == FAMILY.requests("q", ["a", "b"], 0)
    assert FAMILY.scores([Answer(((0.9, 0.1), (0.25, 0.75)))], 1) == (0.75,)


@pytest.mark.parametrize(
    "rows", [(), ((0.9, 0.1),), ((0.5, 0.5), (1.0,)), ((0.5, 0.5), (0.1, 0.2, 0.7)), ((0.5, 0.5), (0.5, float("nan")))]
)
def test_what_is_no_pair_of_probabilities_is_no_score(rows: tuple[tuple[float, ...], ...]) -> None:
    """Rows that lack, have other classes or are no numbers."""
    with pytest.raises(ValueError, match=r"tags|classes|probability"):
        FAMILY.scores([Answer(rows)], 1)

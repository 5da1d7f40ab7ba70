"""Thinking parts: what of a text is neither cut into steps nor read for an answer."""

import pytest

from service.search.steps import StepSplitter
from service.settings import StepForm

THOUGHT = "<think>\nIs it \\boxed{5}?\n\nNo.\n</think>"
REST = "\n\nFirst.\n\nThe answer is \\boxed{7}."


def split(text: str, form: StepForm) -> tuple[list[str], StepSplitter]:
    """Feed a text character by character and close the stream."""
    splitter = StepSplitter(form)
    steps = [step for character in text for step in splitter.feed(character)]
    return [*steps, last] if (last := splitter.rest()) else steps, splitter


@pytest.mark.parametrize("lead", ["", "\n", " \n\n"])
def test_a_thinking_part_is_no_step(lead: str) -> None:
    """It is neither split nor does its answer end anything; it stays part of the text."""
    steps, splitter = split(lead + THOUGHT + REST, StepForm())
    assert steps == ["\n\nFirst.\n\n", "The answer is \\boxed{7}."]
    assert splitter.solution == REST
    assert splitter.text == lead + THOUGHT + REST


def test_an_empty_thinking_part() -> None:
    """A model that was told not to think writes the tags alone."""
    steps, splitter = split("<think>\n\n</think>\n\na\n\nb", StepForm())
    assert steps == ["\n\na\n\n", "b"]
    assert splitter.solution == "\n\na\n\nb"


def test_a_template_may_have_opened_the_thinking_part() -> None:
    """Then the text begins inside it, with or without a tag of its own."""
    for text in (THOUGHT, THOUGHT.removeprefix("<think>")):
        steps, splitter = split(text + REST, StepForm(thinking="opened"))
        assert steps == ["\n\nFirst.\n\n", "The answer is \\boxed{7}."]
        assert splitter.solution == REST


@pytest.mark.parametrize(
    ("thinking", "text"), [("tags", "<think>\n\nSo \\boxed{5}\n\nor </thin"), ("opened", "So \\boxed{5}\n\nor\n\n")]
)
def test_thinking_that_never_ends_leaves_no_step_and_no_answer(thinking: str, text: str) -> None:
    """A text that was cut off while thinking has no solution."""
    steps, splitter = split(text, StepForm.model_validate({"thinking": thinking}))
    assert (steps, splitter.solution, splitter.answered) == ([], "", False)
    assert splitter.text == text


@pytest.mark.parametrize(
    "text", ["<thin", " <think", "<thinking>a", "a <think>b</think>", "a</think>b", "<", "< think>"]
)
def test_only_the_tag_at_the_beginning_opens_a_thinking_part(text: str) -> None:
    """Half a tag, another tag and a tag further on are text, also where the text ends there."""
    steps, splitter = split(text, StepForm())
    assert "".join(steps) == splitter.solution == splitter.text == text


def test_thinking_can_be_steps_when_asked() -> None:
    """It is then split like the rest; an answer inside it still ends nothing, and is not read."""
    steps, splitter = split(THOUGHT + REST + "\n\nBye.", StepForm(thinking="steps"))
    assert steps == [
        "<think>\nIs it \\boxed{5}?\n\n",
        "No.\n</think>\n\n",
        "First.\n\n",
        "The answer is \\boxed{7}.\n\n",
    ]
    assert splitter.answered
    assert splitter.text == THOUGHT + REST + "\n\n"
    assert splitter.solution == REST + "\n\n"


def test_in_thinking_steps_too_thinking_that_never_ends_has_no_solution() -> None:
    """The steps are there to be scored, but nothing to read an answer from."""
    steps, splitter = split("<think>a\n\n\\boxed{5}\n\nb", StepForm(thinking="steps"))
    assert steps == ["<think>a\n\n", "\\boxed{5}\n\n", "b"]
    assert splitter.solution == ""
    assert not splitter.answered

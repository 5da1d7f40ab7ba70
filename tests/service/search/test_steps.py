"""Step boundaries in streams."""

import re
from itertools import cycle, islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.search.answer_extract import extract
from service.search.steps import StepSplitter
from service.settings import StepForm

LINES = StepForm(separators=("\n",))
HEADINGS = StepForm(headings=("## Step", "Step N:"))
SEPARATORS = ("\n\n", "\n", ".\n", "---\n")
FRAGMENTS = [
    *("a", "b.", " ", "\n", "\n\n", ".\n\n", "\n\nNow", "--", "-\n", "é", "\r\n"),
    *("## Step 1", "\n## S", "tep", "Step ", "12", ":", "\nStep 3:", "N"),
    *("\\boxed{", "\\boxed{7}", "{", "}", "\\", "$.", "<think>", "</think>", "<th", "ink>", "</"),
]

texts = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
forms = st.builds(
    StepForm,
    separators=st.lists(st.sampled_from(SEPARATORS), unique=True).map(tuple),
    headings=st.sampled_from([(), ("## Step",), ("Step N:",), ("## Step", "Step N:")]),
    thinking=st.sampled_from(["tags", "opened", "steps"]),
    end_at_answer=st.booleans(),
)


def split(pieces: list[str], form: StepForm | None = None) -> tuple[list[str], StepSplitter]:
    """Feed all pieces and close the stream."""
    splitter = StepSplitter(form or StepForm())
    steps = [step for piece in pieces for step in splitter.feed(piece)]
    return [*steps, last] if (last := splitter.rest()) else steps, splitter


def cut(text: str, sizes: list[int]) -> list[str]:
    """Cut a text into pieces of these sizes, over and over."""
    pieces, begin = [], 0
    for size in islice(cycle(sizes), len(text)):
        pieces.append(text[begin : begin + size])
        begin += size
    return pieces


def steps_by_definition(text: str, form: StepForm) -> list[str]:
    """Cut a whole text as the definition of a step says, one place after the other."""
    headings = [re.compile(re.escape(heading).replace("N", "[0-9]+")) for heading in form.headings]
    steps, begin, place = [], 0, 0
    while place < len(text):
        end = max((place + len(s) for s in form.separators if text.startswith(s, place)), default=None)
        if end is None and text[place - 1 : place] == "\n" and any(h.match(text, place) for h in headings):
            end = place
        if end is not None and text[begin:place].strip() + text[place:end].strip():
            steps.append(text[begin:end])
            begin = end
        place = max(place + 1, begin)
    return [*steps, text[begin:]] if text[begin:].strip() else steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a\n\nb", ["a\n\n", "b"]),
        ("a\n\nb\n\n", ["a\n\n", "b\n\n"]),
        ("a.\n\n\nb", ["a.\n\n", "\nb"]),
        ("\n\na\n\n", ["\n\na\n\n"]),
        ("a\n\n  \n", ["a\n\n"]),
        ("a\nb\n", ["a\nb\n"]),
        # A blank line is two line feeds; a model that writes others names them as separators.
        ("a\r\n\r\nb", ["a\r\n\r\nb"]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_blank_lines(text: str, steps: list[str]) -> None:
    """A step ends with its separator; whitespace alone is no step."""
    assert split([text])[0] == steps


@pytest.mark.parametrize(
    ("separators", "text", "steps"),
    [
        (("\n",), "1. a\n2. b\n", ["1. a\n", "2. b\n"]),
        (("\n",), "a\n\nb", ["a\n", "\nb"]),
        (("\n", "\n\n"), "a\nb\n\nc", ["a\n", "b\n\n", "c"]),
        (("\n\n", ".\n"), "a.\n\nb\n\nc", ["a.\n", "\nb\n\n", "c"]),
        ((" ки",), "a = 1 ки\nb = 2 ки\n", ["a = 1 ки", "\nb = 2 ки"]),
        (("\r\n\r\n", "\n\n"), "a\r\n\r\nb\n\nc", ["a\r\n\r\n", "b\n\n", "c"]),
        ((), "a\n\nb", ["a\n\nb"]),
        (("a.", "."), "xa.b.c", ["xa.", "b.", "c"]),
    ],
)
def test_separators(separators: tuple[str, ...], text: str, steps: list[str]) -> None:
    """The separator that comes first ends a step, at one place the longest of them."""
    assert split([text], StepForm(separators=separators))[0] == steps


@pytest.mark.parametrize(
    ("separators", "text", "steps"),
    [
        ((), "## Step 1: a\n\nb\n\n## Step 2: c", ["## Step 1: a\n\nb\n\n", "## Step 2: c"]),
        ((), "Well.\nStep 1: a\nStep 20: b", ["Well.\n", "Step 1: a\n", "Step 20: b"]),
        ((), "a\r\nStep 1: b", ["a\r\n", "Step 1: b"]),
        ((), "a\nStep one: b\nStep 1 b\nStep N: c", ["a\nStep one: b\nStep 1 b\nStep N: c"]),
        ((), "see ## Step 1\nand Step 2: a\n Step 3: b", ["see ## Step 1\nand Step 2: a\n Step 3: b"]),
        ((), "\n\n## Step 1", ["\n\n## Step 1"]),
        (("\n\n",), "## Step 1\n\na\n## Step 2", ["## Step 1\n\n", "a\n", "## Step 2"]),
        (("\n",), "a\nStep 1: b", ["a\n", "Step 1: b"]),
    ],
)
def test_headings(separators: tuple[str, ...], text: str, steps: list[str]) -> None:
    """A heading begins a step at the start of a line only; N stands for a number and for nothing else."""
    form = HEADINGS.model_copy(update={"separators": separators})
    assert split([text], form)[0] == steps


@pytest.mark.parametrize(
    ("heading", "lines"),
    [
        ("N.", ["1. a\n", "12. b\nN. c"]),
        ("**Step N:**", ["**Step 1:** a\n", "**Step 12:** b\n**Step N:** c"]),
        ("No. N)", ["No. 1) a\n", "No. 12) b\n1o. 3) c"]),
    ],
)
def test_only_an_n_that_stands_alone_is_a_number(heading: str, lines: list[str]) -> None:
    """Letters of a word stay letters, marks around the number stay marks."""
    assert split(["".join(lines)], StepForm(separators=(), headings=(heading,)))[0] == lines


@pytest.mark.parametrize(
    ("form", "before", "decisive"),
    [
        (StepForm(), "a\n", "\n"),
        (LINES, "a", "\n"),
        (StepForm(separators=("\n", "\n\n")), "a\n", "b"),
        (StepForm(separators=("\n", "\n\n")), "a\n", "\n"),
        (HEADINGS, "a\n## Ste", "p"),
        (HEADINGS, "a\nStep 1", ":"),
        # The next line may be a heading or not: this one ends here in either case.
        (HEADINGS.model_copy(update={"separators": ("\n",)}), "a", "\n"),
        (StepForm(thinking="opened"), "hm</think>a\n", "\n"),
    ],
)
def test_a_step_is_told_when_nothing_can_move_its_end(form: StepForm, before: str, decisive: str) -> None:
    """Not while a longer separator or a heading may still come, and not one character later."""
    splitter = StepSplitter(form)
    assert [step for character in before for step in splitter.feed(character)] == []
    assert len(splitter.feed(decisive)) == 1


@given(texts, forms, st.lists(st.integers(1, 9), min_size=1, max_size=5))
@example("a\n\nb", StepForm(separators=("\n", "\n\n")), [2])
@example("<think>a</think>b\n\n\\boxed{7}\n\nc", StepForm(thinking="steps"), [3, 1])
def test_pieces_do_not_matter(text: str, form: StepForm, sizes: list[int]) -> None:
    """However a text is cut into pieces, the steps, the solution and the end are the same."""
    outcomes = []
    for pieces in ([text], list(text), cut(text, sizes)):
        steps, splitter = split(pieces, form)
        outcomes.append((steps, splitter.text, splitter.solution, splitter.answered))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(texts, forms)
def test_nothing_is_lost(text: str, form: StepForm) -> None:
    """Thinking part and steps joined are the text, but for whitespace at its end; an answer's step may cut it short."""
    steps, splitter = split(list(text), form)
    thinking = "" if form.thinking == "steps" else splitter.text.removesuffix(splitter.solution)
    told = thinking + "".join(steps)
    assert splitter.text.startswith(told)
    assert not splitter.text[len(told) :].strip()
    assert all(step.strip() for step in steps)
    assert text.startswith(splitter.text)
    assert splitter.answered or splitter.text == text


@given(texts, forms)
def test_steps_are_what_the_definition_says(text: str, form: StepForm) -> None:
    """A place-by-place search of the whole solution finds the same steps."""
    steps, splitter = split(list(text), form)
    cuttable = splitter.text if form.thinking == "steps" else splitter.solution
    assert steps == steps_by_definition(cuttable, form)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\n\nThe answer is $\\boxed{7}$.\n\nLet us check:", "a\n\nThe answer is $\\boxed{7}$.\n\n"),
        ("\\boxed{\\frac{1}{2}}\n\nb", "\\boxed{\\frac{1}{2}}\n\n"),
        ("\\boxed{1,\n\n2}\n\nb", "\\boxed{1,\n\n2}\n\n"),
        ("\\boxed {7}\n\nb", "\\boxed {7}\n\n"),
    ],
)
def test_the_step_that_completes_an_answer_is_the_last(text: str, kept: str) -> None:
    """What follows is neither a step nor part of the text; what the step says after the box belongs to it."""
    steps, splitter = split(list(text))
    assert splitter.answered
    assert "".join(steps) == splitter.text == splitter.solution == kept


@pytest.mark.parametrize(
    "text",
    [
        "a \\boxed{7} b",
        "a \\boxed{7\n\nb",
        "put it in \\boxed{}.\n\nb",
        "\\boxed{ }\n\nb",
        "{a}\n\nb",
        "\\boxed\\{7\\}\n\nb",
        "The answer is 7.\n\nb",
    ],
)
def test_what_is_no_finished_answer_ends_nothing(text: str) -> None:
    """A box whose step still goes on, that stays open, or that is empty."""
    splitter = split([text])[1]
    assert not splitter.answered
    assert splitter.text == text


def test_a_text_may_go_on_after_its_answer() -> None:
    """Without `end_at_answer` all of it is cut into steps."""
    steps, splitter = split(["\\boxed{7}\n\nb"], StepForm(end_at_answer=False))
    assert (steps, splitter.answered) == (["\\boxed{7}\n\n", "b"], False)


@given(texts, forms)
def test_where_a_text_ends_an_answer_can_be_read(text: str, form: StepForm) -> None:
    """The reader of answers finds one in what is kept of a text that was ended by its answer."""
    splitter = split([text], form)[1]
    assert not splitter.answered or extract(splitter.solution) is not None


@pytest.mark.parametrize(
    "wrong", [{"separators": ("",)}, {"headings": ("",)}, {"headings": (" ",)}, {"headings": ("a\nb",)}]
)
def test_a_form_that_cannot_cut_is_refused(wrong: dict[str, tuple[str, ...]]) -> None:
    """An empty separator, and a heading that is blank or reaches over lines."""
    with pytest.raises(ValidationError):
        StepForm.model_validate(wrong)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.answer_choice import ChoiceAnswers

LETTERS = "ABCDE"


@pytest.mark.parametrize(
    ("solution", "key"),
    [
        ("First … so the answer is (B)", "B"),
        ("The correct answer is **(C)**.", "C"),
        ("The answer is option C", "C"),
        (r"The answer is $\boxed{A}$.", "A"),
        (r"The answer is \(\text{B}\)", "B"),
        ("Answer: D", "D"),
        ("Answer: d", "D"),
        ("The answer is: **B) 12**", "B"),
        ("The answer is B because 3 is prime.", "B"),
        (r"so \boxed{B}", "B"),
        (r"\boxed{b}", "B"),
        (r"\boxed{\textbf{(C)}\ 12}", "C"),
        (r"The answer is (A). No: \boxed{E}", "E"),
        ("The answer is (A). No, the answer is (E).", "E"),
        ("B", "B"),
        ("**B**", "B"),
        ("(b)", "B"),
        ("B. Paris", "B"),
        ("It follows that\n\n(E)\n", "E"),
    ],
)
async def test_a_label_is_read_however_it_is_announced(solution: str, key: str) -> None:
    """Boxed, announced, or alone; with brackets, emphasis and the option's text."""
    answer = await ChoiceAnswers(LETTERS).read(solution)
    assert answer is not None
    assert answer.key == key


@pytest.mark.parametrize(
    "solution",
    [
        "The answer is a triangle.",
        "The answer is Apple.",
        r"\boxed{12}",
        r"\boxed{B, C}",
        r"\boxed{E = 5}",
        "A) 1\nB) 2",
        "I think it is E, since A is wrong.",
        "F",
        "",
    ],
)
async def test_what_chooses_nothing_has_no_answer(solution: str) -> None:
    """A letter that merely stands in a text is none, nor is a word that begins with one."""
    assert await ChoiceAnswers(LETTERS).read(solution) is None


@pytest.mark.parametrize(
    ("solution", "key"),
    [("The answer is YES.", "yes"), ("Not sure", "not sure"), (r"\boxed{no}", "no"), ("The answer is nothing.", None)],
)
async def test_labels_may_be_words(solution: str, key: str | None) -> None:
    """They compare without case, and the longest one that stands there is meant."""
    answer = await ChoiceAnswers(["yes", "no", "not sure"]).read(solution)
    assert (answer.key if answer else None) == key


FORMS = ["The answer is ({})", "Answer: {}", r"\boxed{{{}}}", "**{}**", "{}.", r"so $\boxed{{\text{{({})}}}}$"]


@given(st.lists(st.tuples(st.sampled_from(LETTERS), st.sampled_from(FORMS)), min_size=2, max_size=2))
async def test_keys_are_equal_exactly_where_labels_are(written: list[tuple[str, str]]) -> None:
    """However each of the two is written."""
    reader = ChoiceAnswers(LETTERS)
    answers = [await reader.read(form.format(label)) for label, form in written]
    (one, _), (other, _) = written
    assert None not in answers
    assert (len({answer.key for answer in answers if answer}) == 1) == (one == other)

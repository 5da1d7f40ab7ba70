"""Finding the answer in a solution."""

import time

import pytest

from service.search.answer_extract import extract


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"So \(x = 4\).\n\nThe answer is \(\boxed{4}\).", "4"),
        (r"\boxed{1} is wrong, so \boxed{2}", "2"),
        (r"\boxed{\frac{\sqrt{3}}{2^{n}}}", r"\frac{\sqrt{3}}{2^{n}}"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
        (r"\boxed{\{1, 2}", r"\{1, 2"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{5} and then \boxed{unfinished", "5"),
        (r"a } stray brace, \boxed{5}", "5"),
        (r"a { stray brace, \boxed{5}", "5"),
        (r"\fbox{12}", "12"),
        (r"\boxed 7", "7"),
        (r"\boxed{} but the answer is 3.", "3"),
        (r"\boxed{8}. The answer is 9.", "8"),
        ("The final answer is 3.5. I hope it is correct.", "3.5"),
        (r"The answer is $\frac{1}{2}$ since both halves weigh the same.", r"\frac{1}{2}"),
        (r"The answer is \(x = 5\), as shown.", "x = 5"),
        ("**Answer:** 18", "18"),
        ("Final Answer: The final answer is 42.", "42"),
        ("He has 3 * 6 = 18 pens.\n#### 18", "18"),
        ("#### 1\nno, wait\n#### 2\nmore", "2"),
        ("First the answer is 4.\nBut then the answer is 5!", "5"),
        ("He has 3 * 6 = 18 pens.", None),
        ("The answer is", None),
        ("The answer is " + "very " * 100, None),
        (r"\boxed{unfinished", None),
        ("", None),
    ],
)
def test_the_answer_is_the_last_one_announced(solution: str, answer: str | None) -> None:
    """The last balanced box counts, then the last announcing phrase, and never a bare last number."""
    assert extract(solution) == answer


@pytest.mark.parametrize(
    "piece",
    ["{", "}", "\\", "\\boxed{", r"\boxed{}", "answer ", "answer is ", "answer is \n", "#### ", "$", " ", "\x00"],
)
def test_time_is_linear_in_the_length(piece: str) -> None:
    """A hundred thousand characters of any one piece cost less than a second."""
    solution = "answer is " + piece * (100_000 // len(piece))
    start = time.process_time()
    extract(solution)
    assert time.process_time() - start < 1

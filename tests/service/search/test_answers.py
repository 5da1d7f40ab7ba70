"""Canonical keys that can be read, hostile text, and grading; the table of pairs is in `test_answer_pairs.py`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.search.answers import MathAnswers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers() -> AsyncIterator[MathAnswers]:
    """One reader for all: the parser's process starts once."""
    reader = MathAnswers()
    yield reader
    await reader.aclose()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("text", "key"),
    [("0.5", "1/2"), ("1,000", "1000"), ("-4", "-4"), ("(3,4]", "(3, 4]"), (r"\text{East}", "east"), ("2,1", "{1, 2}")],
)
async def test_a_key_can_be_read(answers: MathAnswers, text: str, key: str) -> None:
    """Keys are shown to users."""
    assert await answers.key(text) == key


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^9}}",
        "10^{10^{10^{10}}}",
        "(10^9)!",
        r"\sum_{n=1}^{10^9} \sin(n^2)",
        "9" * 400 + "^" + "9" * 50,
        "1e999",
        "9" * 100_000,
        "(" * 15,
        "{" * 100_000,
        r"\frac{" * 80,
        r"\sqrt{" * 70 + "2" + "}" * 70,
        "\x00",
        "\x00" * 1000,
        "\ud800",
        "\\",
        "$",
        "$$",
        r"\text{}",
        "%",
        "a" * 499,
        "1," * 249 + "1",
        "import os; os.system('true')",
        "__import__('os')",
        '"}\n["key", "5"]\n',
    ],
)
async def test_hostile_text_gets_a_key_of_its_own(answers: MathAnswers, text: str) -> None:
    """Nothing that a policy can write hangs, crashes or goes unanswered, and the next answer is read as ever."""
    key = await answers.key(text)
    assert 0 < len(key) < 5000
    assert key != await answers.key("5")
    assert await answers.key(r"\sqrt{50}") == await answers.key(r"5\sqrt2")


async def test_a_solution_is_read_to_its_answer_and_key(answers: MathAnswers) -> None:
    """`read` keeps what the policy wrote beside the key."""
    answer = await answers.read(r"Half of it: $\boxed{\frac12}$.")
    assert answer is not None
    assert (answer.text, answer.key) == (r"\frac12", "1/2")


async def test_a_solution_without_an_answer_is_none(answers: MathAnswers) -> None:
    """No answer is invented."""
    assert await answers.read("I cannot say. 5.") is None


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("18", "18 pens", True),
        (r"\frac13", "0.333333", True),
        ("(1,2)", r"\left(1, 2\right)", True),
        ("5", "x=5", True),
        ("x+1", "1+x", True),
        ("18", "19", False),
        (r"\frac13", "0.33", False),
        (r"\text{east}", "seat", False),
        ("x+1", "x+2", False),
        ("10^{10^{10}}", "5", False),
        ("5", "", False),
    ],
)
async def test_grading_takes_equal_keys_or_what_math_verify_takes(
    answers: MathAnswers, gold: str, answer: str, right: bool
) -> None:
    """Grading is more lenient than voting: rounding to six decimals is right."""
    assert await answers.equivalent(gold, answer) is right

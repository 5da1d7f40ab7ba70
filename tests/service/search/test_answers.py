"""Reducing answers to canonical keys, and grading."""

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

SAME = [
    # fractions, decimals, mixed numbers
    ("1/2", "0.5"),
    ("1/2", r"\frac12"),
    ("1/2", r"\frac{1}{2}"),
    (r"\dfrac{1}{2}", r"\tfrac{2}{4}"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}"),
    (r"-\frac{3}{8}", "-0.375"),
    (r"-\frac{3}{8}", r"\frac{-3}{8}"),
    (r"-(\frac{3}{8})", r"\frac{3}{-8}"),
    (r"12\frac{3}{5}", "12.6"),
    ("1 1/2", r"\frac{3}{2}"),
    (".35625", r"\frac{57}{160}"),
    ("5", "5.0"),
    ("007", "7"),
    ("-0", "0"),
    ("\N{MINUS SIGN}5", "-5"),
    ("0.\\overline{3}", r"\frac13"),
    ("0.1\\overline{6}", r"\frac16"),
    (r"6.29 \times 10^6", "6290000"),
    ("1e5", "100,000"),
    # thousands, currency, percent, units, names
    ("1,000", "1000"),
    (r"32,\!348", r"\$32{,}348"),
    ("$5", "5"),
    (r"\$5.00", "5"),
    (r"50\%", "50"),
    ("50 percent", "50%"),
    ("12 pens", "12"),
    ("5 miles per hour", "5"),
    (r"15\mbox{ cm}^2", "15"),
    (r"864 \mbox{ inches}^2", "864 square inches"),
    ("3 km/h", "3"),
    (r"30^\circ", "30 degrees"),
    ("x=5", "5"),
    ("x = 2 + 3 = 5", "5"),
    ("f(x) = x^2", "x^2"),
    ("42.", r"\(42\)"),
    # roots, pi, other constants
    (r"\sqrt{8}", r"2\sqrt2"),
    (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{3}}{3}"),
    ("2*sqrt(3)", r"\sqrt{12}"),
    (r"\sqrt{3+2\sqrt2}", r"1+\sqrt{2}"),
    (r"(1+\sqrt2)(1-\sqrt2)", "-1"),
    (r"7\pi", "7pi"),
    (r"\frac{\pi}{2}", r"0.5\pi"),
    ("2\N{GREEK SMALL LETTER PI}", r"2 \pi \text{ cm}"),
    (r"2^{10}", "1024"),
    ("5!", "120"),
    (r"\binom{5}{2}", "10"),
    (r"\log_2 8", "3"),
    ("-2 + 7i", "7i - 2"),
    # formulas and equations
    ("2x+3", "3 + 2x"),
    ("y = 2x+3", "2x+3"),
    ("(x+1)(x-2)", "x^2 - x - 2"),
    (r"\frac{a+b}{c}", r"\frac{a}{c} + \frac bc"),
    (r"\sin^2 x + \cos^2 x + x", "x+1"),
    ("x+y=1", "-2x-2y=-2"),
    # tuples, sets, lists, intervals, matrices
    ("(1, 2)", r"\left(1,2\right)"),
    (r"\left(\frac12, -\sqrt3\right)", r"(0.5, -\sqrt{3})"),
    ("(x,y)=(1,2)", "(1,2)"),
    ("1,-2", "-2, 1"),
    ("1,-2", r"\{-2, 1\}"),
    ("1 and -2", "x=1 or x=-2"),
    (r"\pm 2", "2,-2"),
    (r"\{1\pm\sqrt5\}", r"1-\sqrt5, 1+\sqrt5"),
    ("(3,4]", r"3 < x \le 4"),
    (r"(-\infty, 2)", "x<2"),
    (r"(-\infty,2)\cup(3,\infty)", r"x > 3 \text{ or } x < 2"),
    (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0)\cup(0,\infty)"),
    (r"x \in [3, 4]", "[3,4]"),
    (r"\emptyset", r"\varnothing"),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}"),
    # words
    (r"\text{Evelyn}", "evelyn"),
    (r"\text{(C)}", "C"),
    ("4:30 p.m.", "4:30 PM"),
    ("52_8", "52_{8}"),
    (r"\text{no}", "No"),
]

DIFFERENT = [
    ("0.5", r"50\%"),
    ("0.333", r"\frac13"),
    ("0.333...", "0.333"),
    ("12", "21"),
    ("5", "-5"),
    ("1,000", "1, 0"),
    ("1 2", "12"),
    ("2 3", "5"),
    (r"2\sqrt2", "2.83"),
    (r"\pi", "3.14159"),
    (r"10^9\sqrt2", r"10^9\sqrt2 + 1"),
    (r"\sqrt{x^2}", r"x + 0"),
    ("2x+3", "2y+3"),
    ("x+y=1", "x+y=2"),
    ("y > 2x", "y < 2x"),
    ("y > 2x", r"y \ge 2x"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", r"\{1,2\}"),
    ("[1,2]", "(1,2]"),
    ("x=1,y=2", "x=2,y=1"),
    ("1,2", "1,2,3"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"\text{east}", "seat"),
    ("52_8", "52_9"),
    ("4:30", "9/2"),
    ("3 million", "3"),
    ("II", "-1"),
    (r"\frac{1}{0}", r"\frac{10}{}"),
    ("1.", "1.5"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
async def test_two_forms_of_one_answer_have_one_key(answers: MathAnswers, one: str, other: str) -> None:
    """Votes for the same answer pool, however it is written."""
    assert await answers.key(one) == await answers.key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
async def test_different_answers_have_different_keys(answers: MathAnswers, one: str, other: str) -> None:
    """Votes for different answers never pool."""
    assert await answers.key(one) != await answers.key(other)


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

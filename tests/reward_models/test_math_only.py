from string import ascii_letters

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reward_models.formulas import Formulas
from reward_models.math_only import math_only

LATEX = r"""$ $$ \ \( \) \[ \] { } \boxed{ \frac [3] \begin{align} \end{align} \text \pi \item \{ \} \, \% \$ \\"""
PLAIN = "( ) [ ] x a I f( f(x) sin( mod 5 12 .5 1,2 ! + - = / * _ ^ _{ ^{ % < | . , : ; ' word x-axis I'm cm^2 km/h"
OTHERS = [
    " ",
    "  ",
    "\n",
    "\t",
    "\u00a0",
    "\u00b2",
    "\u00bd",
    "\u03c0",
    "\u2212",
    "\u00d7",
    "\u20ac",
    "\u6709",
    "\u4e2a",
]
TEXTS = st.lists(st.sampled_from([*LATEX.split(), *PLAIN.split(), *OTHERS]), max_size=25).map("".join) | st.text(
    max_size=60
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Bo has 12 + 5 = 17 pens .", "12 + 5 = 17"),
        ("Hal has 12 + 5 = 17 pens. The answer is \\boxed{14}.", "12 + 5 = 17. \\boxed{14}"),
        ("Let me think about it.", ""),
        ("", ""),
        ("She has twelve apples, and 3 pears.", "3"),
        ("First 3 \u00d7 4 = 12, then 12 \u2212 2 = 10.", "3 \u00d7 4 = 12, 12 \u2212 2 = 10"),
        ("A boy has 5 x 3 = 15 pens (I think)", "5 x 3 = 15"),
        ("So 50% of 1,200 is 600.5 and 5! = 120.", "50% 1,200 600.5 5! = 120"),
        ("Half (0.5) of them", "(0.5)"),
        ("(there are 5 of them) and 6", "5 6"),
        ("- She walks 60 km/h over 5 cm^2, a 3-digit number", "60 5, 3"),
        ("\u6709 5 \u4e2a\u82f9\u679c\uff0c5 + 3 = 8", "5 5 + 3 = 8"),
    ],
)
def test_words_go_and_plain_arithmetic_stays(text: str, left: str) -> None:
    """Units and numbers in words are words; of the marks between two expressions one is left."""
    assert math_only(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("We get $x^2 + 1 = 0$, so \\(x = \\pm i\\).", "$x^2 + 1 = 0$, \\(x = \\pm i\\)"),
        (
            "Thus\n\\[\n\\frac{1}{2} \\text{ of it}\n\\]\nwhich is\n\n$$a$$ then",
            "\\[\n\\frac{1}{2} \\text{ of it}\n\\]\n$$a$$",
        ),
        ("so \\begin{align*}a &= b\\\\ c &= d\\end{align*} holds", "\\begin{align*}a &= b\\\\ c &= d\\end{align*}"),
        (
            "so \\frac{1}{2} + \\sqrt[3]{8} is \\boxed{\\text{Monday}}",
            "\\frac{1}{2} + \\sqrt[3]{8} \\boxed{\\text{Monday}}",
        ),
        ("the sum \\sum_{i=1}^{n} i^2 here", "\\sum_{i=1}^{n} i^2"),
        ("\\textbf{Step 5:} \\begin{itemize}\\item 3+4\\end{itemize}", "5: 3+4"),
        ("an open $x and \\(y or \\frac{5 and", "\\frac 5"),
    ],
)
def test_latex_is_kept_as_it_is_written(text: str, left: str) -> None:
    """A formula with words in it is a formula; markup of prose is prose."""
    assert math_only(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("x = 2 and the y-axis, n of them", "x = 2"),
        ("Let f(x) = 2(x - 1), sin(x) = 0 with P(A \u2229 B)", "f(x) = 2(x - 1), sin(x) = 0 P(A \u2229 B)"),
        ("area is 2\u03c0r or 3n, not a - I have 5", "2\u03c0r 3n, 5"),
        ("7 mod 3 = 1 for t in [0, 1)", "7 mod 3 = 1 [0, 1)"),
    ],
)
def test_a_letter_is_a_symbol_beside_an_operator_or_at_a_number(text: str, left: str) -> None:
    """Elsewhere it is a word."""
    assert math_only(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("It costs $5 and $3, which is $8.", "5 3, 8"),
        ("$5 + $3 = $8", "5 + 3 = 8"),
        ("\\$5 and \u20ac6", "5 6"),
        ("It costs $5, and $x$ more.", "5, $x$"),
    ],
)
def test_a_dollar_sign_before_an_amount_is_money(text: str, left: str) -> None:
    """As pandoc reads it; a sign of money is a unit."""
    assert math_only(text) == left


@settings(max_examples=200)
@example("$5 $ \\( a$b \\)")
@example("$x$5(a$x$")
@given(TEXTS)
def test_stripping_twice_is_stripping_once(text: str) -> None:
    """So that what was stripped already, by whomever, has the same score."""
    assert math_only(math_only(text)) == math_only(text)


@settings(max_examples=200)
@given(TEXTS)
def test_nothing_is_added(text: str) -> None:
    """All that is left was there, in the same order; white space aside."""
    given_ones = iter(text)
    assert all(left in given_ones for left in math_only(text) if not left.isspace())


@given(st.lists(st.text(ascii_letters, min_size=2) | st.sampled_from(".,:;?!()-'")).map(" ".join))
def test_of_mere_language_nothing_is_left(text: str) -> None:
    """Words of two letters or more with marks between them."""
    assert math_only(text) in ("", "mod")


@pytest.mark.parametrize(
    "piece", ["$a", "$\\$", "$$", "\\(a ", "\\begin{align}", "\\boxed{", "\\a[", "x_{", "f(", "a-", "5,"]
)
def test_what_is_opened_and_never_closed_is_looked_for_once(piece: str) -> None:
    """A long text of openings ends: time that grows with its square would take hours."""
    text = piece * (30_000 // len(piece))
    assert len(math_only(text)) <= 2 * len(text)


def test_a_formula_ends_where_its_own_brackets_do() -> None:
    """Braces that are escaped do not count."""
    text = "\\boxed{a\\}{b}}c"
    assert Formulas(text).end(0) == len(text) - 1

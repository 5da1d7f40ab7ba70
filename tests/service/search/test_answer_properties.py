"""What holds for every answer: one key per number and per text, and nothing that hangs or breaks the reader."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.search.answer_reducer import AnswerReducer
from service.search.answers import MathAnswers

Key = Callable[[str], str]

_A_HANG_S = 60
"""Far above what the reducer's deadline allows."""

unhurried = settings(deadline=None, max_examples=60)


@contextmanager
def _fresh_reader() -> Iterator[Key]:
    with asyncio.Runner() as runner:
        answers = MathAnswers(AnswerReducer(deadline_s=30))  # on a busy machine, too

        async def key(text: str) -> str:
            return await asyncio.wait_for(answers.key(text), _A_HANG_S)

        yield lambda text: runner.run(key(text))
        runner.run(answers.aclose())


@pytest.fixture(scope="module")
def key() -> Iterator[Key]:
    """Return what reduces a text to its key, by one reader for all."""
    with _fresh_reader() as key:
        yield key


def _decimals(value: Fraction) -> list[str]:
    """Return `value` as a decimal, where five places hold it."""
    if 10**5 % value.denominator:
        return []
    digits = str(abs(value.numerator) * 10**5 // value.denominator).zfill(6)
    sign = "-" if value < 0 else ""
    return [f"{sign}{digits[:-5]}.{digits[-5:]}", rf"{sign}{digits} \times 10^{{-5}}"]


def _forms(value: Fraction, factor: int) -> list[str]:
    """Return ways to write `value`, its fraction expanded by `factor`."""
    over, under = value.numerator * factor, value.denominator * factor
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(value.numerator), value.denominator)
    forms = [
        f"{over}/{under}",
        rf"\frac{{{over}}}{{{under}}}",
        rf"{sign}\dfrac{{{abs(over)}}}{{{under}}}",
        rf"\frac{{{-over}}}{{{-under}}}",
        rf"x = \left( {over} \right) \div {under}",
        *_decimals(value),
    ]
    if value.denominator == 1:
        forms += [str(value), f"{value}.0", f"{value.numerator:,}", str(value).replace("-", "\N{MINUS SIGN}")]
    elif whole:
        forms += [
            rf"{sign}{whole}\frac{{{rest}}}{{{value.denominator}}}",
            f"{sign}{whole} {rest}/{value.denominator}",
        ]
    return forms


numbers = st.builds(
    Fraction,
    st.integers(-(10**7), 10**7),
    st.integers(1, 10**4) | st.sampled_from([1, 2, 4, 5, 8, 10, 16, 25, 100, 1000]),
)

_PIECES = r"""
\frac \sqrt \sqrt[3] \int \sum_{n=1}^{\infty} \prod \lim_{x\to0} \binom \log_ \sin ^\circ \pm \infty \cup \in \text
\begin{pmatrix} \end{pmatrix} \\ & \left( \right] \{ \} \boxed \overline \pi i e ! ^ _ { } ( ) [ ] | = < \le , ; : . / *
+ - % $ \$ 0 1 2 9 10 99 999999999 x y n A or and None __import__ lambda
"""
_SIGNS = [
    *("\x00", "\x1b", "\ud800", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{RIGHT-TO-LEFT MARK}", "\N{ZERO WIDTH SPACE}"),
    *("\N{MINUS SIGN}", "\N{FULLWIDTH DIGIT TWO}", "\N{SUPERSCRIPT TWO}", "\N{VULGAR FRACTION ONE HALF}"),
    *("\N{ARABIC-INDIC DIGIT FIVE}", "\N{LINE SEPARATOR}", "\n", "\t", " ", "\N{COMBINING ACUTE ACCENT}"),
]
pieces = st.sampled_from([*_PIECES.split(), *_SIGNS])
latex = st.lists(pieces, max_size=40).map("".join)
towers = st.builds(
    lambda base, height, last: f"{base}^{{" * height + last + "}" * height,
    st.sampled_from(["9", "-3", "10", "0.1", "x", r"\pi", "i"]),
    st.integers(1, 60),
    st.sampled_from(["9", "-9", "0", "x", "9!", "10^9!", r"\frac10"]),
)
any_text = st.text(max_size=5_000)


@given(value=numbers, factor=st.integers(1, 99))
@unhurried
def test_a_number_has_one_key_however_it_is_written(key: Key, value: Fraction, factor: int) -> None:
    """Fractions, mixed numbers, decimals, powers of ten and grouped digits all reduce to the value in lowest terms."""
    forms = _forms(value, factor)
    assert {form: key(form) for form in forms} == dict.fromkeys(forms, str(value))


@given(one=numbers, root=st.integers(2, 500), other=numbers, other_root=st.integers(2, 500))
@unhurried
def test_surds_pool_exactly_where_their_values_agree(
    key: Key, one: Fraction, root: int, other: Fraction, other_root: int
) -> None:
    """r sqrt(n) is known by r² n and the sign of r."""
    same = one * abs(one) * root == other * abs(other) * other_root
    keys = [
        key(rf"\frac{{{r.numerator}\sqrt{{{n}}}}}{{{r.denominator}}}") for r, n in ((one, root), (other, other_root))
    ]
    assert (keys[0] == keys[1]) is same
    squared = rf"\sqrt{{\frac{{{one.numerator**2 * root}}}{{{one.denominator**2}}}}}"
    assert key(squared if one >= 0 else f"-{squared}") == keys[0]


@given(members=st.lists(numbers, min_size=2, max_size=5, unique=True), data=st.data())
@unhurried
def test_a_set_has_no_order_and_a_tuple_has(key: Key, members: list[Fraction], data: st.DataObject) -> None:
    """A permutation keeps the key of a set, and changes that of a tuple."""
    permuted = data.draw(st.permutations(members))
    one, other = (", ".join(map(str, m)) for m in (members, permuted))
    assert key(rf"\{{{one}\}}") == key(other)
    assert (key(f"({one})") == key(f"({other})")) is (members == permuted)


@given(text=latex | any_text)
@settings(unhurried, max_examples=150)
def test_every_text_has_a_key(key: Key, text: str) -> None:
    """Neither an error nor a hang nor an empty key, whatever the policy writes; and the next answer is read as ever."""
    assert key(text) or not text
    assert key(r"\sqrt{50}") == key(r"5\sqrt2")


@given(text=towers)
@settings(unhurried, max_examples=10)
def test_a_tower_of_powers_has_a_key(key: Key, text: str) -> None:
    """What would cost the process its life costs at most the one answer."""
    assert key(text)
    assert key(rf"{len(text)} \times \frac12") == key(f"{len(text)}/2")


@given(texts=st.lists(latex, min_size=1, max_size=10))
@settings(deadline=None, max_examples=5, derandomize=True)
def test_a_key_depends_on_the_text_alone(key: Key, texts: list[str]) -> None:
    """A reader with a new process, asked in the reverse order, gives the same keys."""
    with _fresh_reader() as another:
        assert {t: another(t) for t in reversed(texts)} == {t: key(t) for t in texts}


@pytest.mark.parametrize("text", ["{" * 10**6 + "1" + "}" * 10**6, "9" * 10**6, "1+" * 10**6, r"\sqrt" * 10**6])
def test_a_million_characters_are_never_parsed(key: Key, text: str) -> None:
    """What is far too long for an answer is known by its hash."""
    assert key(text).startswith("sha256:")

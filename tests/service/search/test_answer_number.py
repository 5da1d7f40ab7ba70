from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.answer_number import NumberAnswers


@pytest.mark.parametrize(
    ("solution", "key"),
    [
        ("He has 5 - 3 = 2 left.\n#### 1,234", "1234"),
        ("The answer is $42.50.", "85/2"),
        ("The answer is $1,200 per month.", "1200"),
        ("The answer is 42 apples for 3 kids.", "42"),
        ("The answer is 5 + 3 = 8 apples.", "8"),
        (r"\boxed{42\text{ cm}} and 7", "42"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        ("So he pays 18 dollars", "18"),
        ("So 10 - 5", "5"),
        ("It is \u22127 degrees", "-7"),
        ("It is -7.50", "-15/2"),
        ("50%", "50"),
        ("1, 2, 3", "3"),
        ("1,234,56", "56"),
        ("1e3", "1000"),
        ("3/4 of it", "3/4"),
        ("That is 12/0", None),
        ("The answer is as follows.\n12", "12"),
        (r"\boxed{\sqrt{2}}", None),
        (r"12 and \boxed{x}", None),
        ("none", None),
        ("9" * 600, None),
    ],
)
async def test_a_number_is_read_as_graders_read_it(solution: str, key: str | None) -> None:
    """Announced or last, without its unit; a formula is no number."""
    answer = await NumberAnswers().read(solution)
    assert (answer.key if answer else None) == key


VALUES = st.integers(-(10**12), 10**12) | st.decimals(-(10**6), 10**6, places=3)
FORMS = ["#### {:,}", "The answer is {:,} apples.", r"\boxed{{{}}}", "so we get {} in all", "1 + 1 = {:f}"]


@given(st.lists(st.tuples(VALUES, st.sampled_from(FORMS)), min_size=2, max_size=2))
async def test_keys_are_equal_exactly_where_values_are(written: list[tuple[int, str]]) -> None:
    """However each of the two is written."""
    answers = [await NumberAnswers().read(form.format(value)) for value, form in written]
    keys = [Fraction(answer.key) for answer in answers if answer]
    assert keys == [
        Fraction(form.format(value).split()[-1]) if ":f" in form else Fraction(value) for value, form in written
    ]

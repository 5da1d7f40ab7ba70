import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.answer_exact import ExactAnswers, exact_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" a  b\n c", "a b c"),
        ('{"a": 1.0, "b": [1, 2]}', '{"b":[1,2],"a":1}'),
        ("[100]", "[1e2]"),
        ("[-0, 0.10]", "[0.0, 1E-1]"),
        (r'["\u0061"]', '["a"]'),
    ],
)
def test_what_says_the_same_is_one_answer(one: str, other: str) -> None:
    """White space makes no difference, nor do the order of keys and the spelling of JSON's numbers and strings."""
    assert exact_key(one) == exact_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "ab"),
        ("A", "a"),
        ("1.0", "1"),
        ("[1, 2]", "[2, 1]"),
        ("[1]", '["1"]'),
        ("[1]", "[true]"),
        ("[0.1]", "[0.10000000000000000000000001]"),
        ('{"a": 1, "a": 1}', '{"a": 1}'),
        ("[" * 100_000, "[" * 100_001),
        ("[1e999999999999999999999]", "[1e999999999999999999998]"),
        ("x" * 501, "x" * 502),
    ],
)
def test_what_says_something_else_is_another(one: str, other: str) -> None:
    """Text outside JSON is compared letter by letter; numbers are, digit by digit."""
    assert exact_key(one) != exact_key(other)


@given(JSON.filter(lambda value: isinstance(value, dict | list)), st.data())
def test_json_is_one_answer_in_any_order_and_spacing(value: Any, data: st.DataObject) -> None:
    """Whoever writes it."""
    indent = data.draw(st.none() | st.integers(0, 4))
    written = json.dumps(_shuffled(value, data), indent=indent, ensure_ascii=data.draw(st.booleans()))
    assert exact_key(written) == exact_key(json.dumps(value))


@given(st.lists(JSON.filter(lambda value: isinstance(value, dict | list)), min_size=2, max_size=2))
def test_json_is_two_answers_where_the_values_differ(values: list[Any]) -> None:
    """`1`, `1.0` and `true` are equal in Python; in JSON the first two are."""
    one, other = values
    assert (exact_key(json.dumps(one)) == exact_key(json.dumps(other))) == (_typed(one) == _typed(other))


async def test_the_answer_is_the_text_without_the_space_around_it() -> None:
    """Nothing but white space is no answer."""
    reader = ExactAnswers()
    answer = await reader.read(" yes,\n it is \n")
    assert answer is not None
    assert (answer.text, answer.key) == ("yes,\n it is", "yes, it is")
    assert await reader.read(" \n") is None


def _shuffled(value: Any, data: st.DataObject) -> Any:
    if isinstance(value, dict):
        return {key: _shuffled(value[key], data) for key in data.draw(st.permutations(sorted(value)))}
    return [_shuffled(item, data) for item in value] if isinstance(value, list) else value


def _typed(value: Any) -> Any:
    """Return a value that Python finds equal exactly where JSON does."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return ("bool", value) if isinstance(value, bool) else value

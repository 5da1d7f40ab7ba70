from typing import Any

import pytest
from pydantic import ValidationError

from service.search.answer_readers import AnswerReaders
from service.search.answer_spec import AnswerSpec


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"kind": "regex"}, "needs a `pattern`"),
        ({"kind": "regex", "pattern": "("}, "no regular expression"),
        ({"kind": "regex", "pattern": "(" * 400}, "no regular expression"),
        ({"kind": "regex", "pattern": "abc"}, "has 0 groups"),
        ({"kind": "regex", "pattern": "(a)(b)"}, "has 2 groups"),
        ({"kind": "math", "pattern": "(a)"}, "belongs to the kind regex"),
        ({"kind": "number", "labels": ["A", "B"]}, "belong to the kind choice"),
        ({"kind": "choice", "labels": ["A", "a"]}, "one label twice"),
        ({"kind": "choice", "labels": ["A"]}, "at least 2"),
        ({"kind": "choice", "labels": ["A", " "]}, "pattern"),
        ({"kind": "vibes"}, "Input should be"),
    ],
)
def test_what_cannot_be_read_is_refused(data: dict[str, Any], why: str) -> None:
    """With the reason."""
    with pytest.raises(ValidationError, match=why):
        AnswerSpec.model_validate(data)


@pytest.mark.parametrize(
    ("spec", "solution", "key"),
    [
        ({"kind": "math"}, r"so \boxed{0.5}", "1/2"),
        ({"kind": "choice"}, "The answer is (B)", "B"),
        ({"kind": "choice", "labels": ["B", "X"]}, "The answer is (X)", "X"),
        ({"kind": "number"}, "so 7 apples", "7"),
        ({"kind": "regex", "pattern": "<(.)>"}, "<a><b>", "b"),
        ({"kind": "exact"}, " one\n text", "one text"),
        ({"kind": "none"}, r"\boxed{1}", None),
    ],
)
async def test_each_kind_has_its_reader(spec: dict[str, Any], solution: str, key: str | None) -> None:
    """A worker has all of them, and ends what they have started."""
    readers = AnswerReaders()
    try:
        answer = await readers.reader(AnswerSpec.model_validate(spec)).read(solution)
    finally:
        await readers.aclose()
    assert (answer.key if answer else None) == key

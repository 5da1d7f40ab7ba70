"""The table of answer pairs: forms of one answer have one key, different answers never do."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.search.answer_reducer import AnswerReducer
from service.search.answers import MathAnswers
from tests.service.search.answer_pairs_forms import FORMS
from tests.service.search.answer_pairs_numbers import NUMBERS

PAIRS = [
    pytest.param(one, sign, other, id=f"{kind}-{place}")
    for kind, pairs in (NUMBERS | FORMS).items()
    for place, (one, sign, other) in enumerate(pairs)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers() -> AsyncIterator[MathAnswers]:
    """One reader for all: the parser's process starts once."""
    reader = MathAnswers(AnswerReducer(deadline_s=30))  # on a busy machine, too
    yield reader
    await reader.aclose()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("one", "sign", "other"), PAIRS)
async def test_votes_pool_exactly_where_the_answers_are_one(
    answers: MathAnswers, one: str, sign: str, other: str
) -> None:
    """Equal keys for one answer in two forms, different keys for two answers."""
    keys = await answers.key(one), await answers.key(other)
    assert (keys[0] == keys[1]) is (sign == "="), keys

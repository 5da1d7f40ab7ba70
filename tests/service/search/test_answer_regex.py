from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.search.answer_reducer import AnswerReducer
from service.search.answer_regex import RegexAnswers, pattern_process
from service.search.regex_process import last_match


@pytest.fixture
async def patterns() -> AsyncIterator[AnswerReducer]:
    """One process for a test."""
    process = pattern_process()
    yield process
    await process.aclose()


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"x = (\d+)", "x = 1, then x = 22", "22"),
        (r"(?:x|y)=(\w)", "x=a y=b", "b"),
        (r"a(b)?", "ab a", "b"),
        (r"a(b*)", "a a", False),
        (r"(z)", "abc", False),
        (r"(?s)<a>(.*?)</a>", "<a>1\n2</a>", "1\n2"),
        (r"(.*)", "y" * 9000, False),
    ],
)
def test_the_last_match_that_holds_something_is_found(pattern: str, text: str, found: str | bool) -> None:
    """One that is too long for an answer is none."""
    assert last_match(pattern, text) == found


async def test_a_solution_is_read_in_the_process(patterns: AnswerReducer) -> None:
    """White space within makes no difference to the key."""
    reader = RegexAnswers(r"<answer>(.*?)</answer>", patterns)
    answer = await reader.read("<answer>4</answer> or <answer> 1  2 </answer>")
    assert answer is not None
    assert (answer.text, answer.key) == ("1  2", "1 2")
    assert await reader.read("nothing") is None


async def test_a_pattern_that_never_ends_is_refused_and_harms_no_other(patterns: AnswerReducer) -> None:
    """The process ends after its processor time, and the next one answers."""
    with pytest.raises(InvalidRequest, match="too much time") as refused:
        await RegexAnswers(r"((?:a+)+)$", patterns).read("a" * 40 + "!")
    assert refused.value.param == "mull.answer.pattern"
    answer = await RegexAnswers(r"(\d)", patterns).read("so 7")
    assert answer is not None
    assert answer.key == "7"


WORDS = st.text("ab1 ", max_size=6)


@given(st.lists(WORDS, min_size=2, max_size=2))
async def test_keys_are_equal_exactly_where_what_was_found_is(found: list[str]) -> None:
    """Whatever stands around it, and however the white space in it is written."""

    class Here:
        """Tries a pattern in this process."""

        async def ask(self, _: str, pattern: str, text: str) -> str | bool:
            return last_match(pattern, text)

    reader = RegexAnswers(r"\[(.*?)\]", Here())  # type: ignore[arg-type]
    answers = [await reader.read(f"{place} so [{text}]") for place, text in enumerate(found)]
    one, other = (answer.key if answer else None for answer in answers)
    assert (one == other) == (found[0].split() == found[1].split())

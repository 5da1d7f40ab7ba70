"""Which tokens of what a policy wrote make the text of a choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.ports import TokenLogprobs
from service.search.token_texts import tokens_of


def told(*texts: str) -> list[TokenLogprobs]:
    """Tokens that each were sure."""
    return [TokenLogprobs(-0.1, (-0.1,), text, ((text, -0.1), ("other", -2.5))) for text in texts]


@pytest.mark.parametrize(
    ("text", "tokens", "offsets"),
    [
        ("It is 7", ["It", " is", " 7"], [0, 2, 5]),
        ("It is 7", ["It", "is", "7"], [0, 3, 6]),  # a tokenizer that gives them without the space
        ("It is 7", ["It", " is", " 7", "<end>"], [0, 2, 5]),
        ("It is 7.\n\n", ["It", " is", " 7", ".\n\n", "And", " so"], [0, 2, 5, 7]),
        ("It i", ["It", " is", " 7"], [0, 2]),  # a stop string began within a token
        ("a🙂b", ["a", "", "🙂", "b"], [0, 1, 1, 2]),  # half a character has no text
        ("a b", ["<think>", "a", " b"], [0, 0, 1]),
        ("", ["<end>"], []),
    ],
)
def test_tokens_lie_where_their_text_is(text: str, tokens: list[str], offsets: list[int]) -> None:
    """Each begins where its text does, and what was written beyond the text is left out."""
    found = tokens_of(text, told(*tokens), most=1)
    assert [token.offset for token in found] == offsets
    assert [token.token for token in found] == tokens[: len(offsets)]


def test_as_many_probable_tokens_are_shown_as_were_asked_for() -> None:
    """The engine lists the token itself beside them."""
    assert [len(tokens_of("a", told("a"), most=most)[0].top) for most in (0, 1, 2)] == [0, 1, 2]


@given(st.lists(st.text(min_size=1, max_size=4), max_size=20), st.integers(0, 30))
def test_tokens_of_a_text_give_it_back(tokens: list[str], cut: int) -> None:
    """Whatever the tokens are, those of their joined text, or of its beginning, are its tokens up to there."""
    whole = "".join(tokens)
    text = whole[:cut]
    found = tokens_of(text, told(*tokens), most=0)
    assert "".join(token.token for token in found)[: len(text)] == text
    assert [token.token for token in found] == tokens[: len(found)]

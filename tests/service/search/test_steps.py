"""Step boundaries in streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.steps import StepSplitter


def split(pieces: list[str], separator: str = "\n\n") -> list[str]:
    """Feed all pieces and close the stream."""
    splitter = StepSplitter(separator)
    steps = [step for piece in pieces for step in splitter.feed(piece)]
    return [*steps, last] if (last := splitter.rest()) else steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a\n\nb", ["a\n\n", "b"]),
        ("a\n\nb\n\n", ["a\n\n", "b\n\n"]),
        ("a.\n\n\nb", ["a.\n\n", "\nb"]),
        ("\n\na\n\n", ["\n\na\n\n"]),
        ("a\n\n  \n", ["a\n\n"]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_boundaries(text: str, steps: list[str]) -> None:
    """A step ends with its separator; whitespace alone is no step."""
    assert split([text]) == steps


@given(st.lists(st.sampled_from(["a", "b.", "\n", "\n\n", " ", ".\n\n", "\n\nc"]), max_size=20))
def test_pieces_do_not_matter(pieces: list[str]) -> None:
    """However the text is cut into pieces, the steps are the same, and joined they are the text."""
    text = "".join(pieces)
    steps = split(pieces)
    assert steps == split([text]) == split(list(text))
    assert text.startswith("".join(steps))
    assert not text[len("".join(steps)) :].strip()

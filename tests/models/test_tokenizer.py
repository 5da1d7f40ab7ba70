"""The tokenizer: readable round trips, one token per separator and label, and no crash on unknown words."""

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from models import heldout
from models.problems import draw_problem, solve
from models.tokenizer import BAD, EOS, GOOD, SEPARATOR, UNK, build_tokenizer, prompt_text

FOLDERS = [Path(heldout.__file__).with_name(name) for name in ("tiny-policy", "tiny-prm")]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The tokenizer as the generator's sentences define it."""
    return build_tokenizer()


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_questions_and_solutions_come_back_as_they_went_in(tokenizer: Tokenizer) -> None:
    """Spaces, digits and blank lines survive encoding and decoding, and no word is unknown."""
    rng = random.Random(1)
    for i in range(100):
        problem = draw_problem(rng, 2 + i % 7)
        for text in (prompt_text(problem.text), SEPARATOR.join(solve(problem))):
            encoded = ids(tokenizer, text)
            assert tokenizer.decode(encoded, skip_special_tokens=False) == text
            assert tokenizer.token_to_id(UNK) not in encoded


@pytest.mark.parametrize("token", [SEPARATOR, GOOD, BAD, EOS, " \\boxed{"])
def test_marks_are_single_tokens(tokenizer: Tokenizer, token: str) -> None:
    """The step separator, the labels, the end and the box opener are one token each."""
    assert len(ids(tokenizer, token)) == 1


def test_each_digit_is_a_token(tokenizer: Tokenizer) -> None:
    """Seventeen is a one and a seven, and reads 17 again."""
    assert tokenizer.encode("has 17 pens").tokens[-3:] == [" 1", "7", " pens"]
    assert tokenizer.decode(ids(tokenizer, " 17 pens")) == " 17 pens"


def test_a_separator_within_a_text_is_found_as_one_token(tokenizer: Tokenizer) -> None:
    """A text split after the separator has the same ids as its parts."""
    parts = ["From Al: Bo beats Al by 5 pens so Bo has 12 + 5 = 17 pens.\n\n", "From Bo: Cy beats Bo by 2 pens"]
    assert ids(tokenizer, "".join(parts)) == [token for part in parts for token in ids(tokenizer, part)]


@pytest.mark.parametrize("text", ["What is the capital of Peru?", "żółć ∫x²dx", "", "\t\r\n"])
def test_unknown_words_become_the_unknown_token(tokenizer: Tokenizer, text: str) -> None:
    """Any question can be encoded."""
    assert all(0 <= token < tokenizer.get_vocab_size() for token in ids(tokenizer, text))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_shipped_tokenizer_is_the_one_the_generator_defines(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json in both folders equals what the code builds."""
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(tokenizer.to_str())

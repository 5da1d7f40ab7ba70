"""The word-level tokenizer that policy and reward model share, and its chat template."""

import itertools
import random

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel

from models.problems import ITEMS, NAMES, draw_problem, solve

PAD, EOS, UNK, USER, ASSISTANT = "<pad>", "<eos>", "<unk>", "<user>", "<assistant>"
GOOD, BAD = "<good>", "<bad>"
SPECIAL = (PAD, EOS, UNK, USER, ASSISTANT, GOOD, BAD)
SEPARATOR = "\n\n"
# A word carries the space before it, as in byte-level vocabularies; each digit is a token of its own.
WORD = r"\n\n| ?\\boxed\{| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<user> ' + message['content'] | trim + '<assistant>' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
)


def prompt_text(question: str) -> str:
    """The question as the chat template renders it."""
    return f"{USER} {question.strip()}{ASSISTANT}"


def build_tokenizer() -> Tokenizer:
    """The tokenizer, with its vocabulary read off the generator's own sentences (sorted, so always the same)."""
    split = pre_tokenizers.Split(Regex(WORD), "isolated")
    words: set[str] = {SEPARATOR, " \\boxed{", ","}
    words |= {f" {digit}" for digit in range(10)} | {str(digit) for digit in range(10)}
    words |= {f" {word}" for word in itertools.chain(NAMES, ITEMS)}
    rng = random.Random(0)
    for _ in range(2000):
        problem = draw_problem(rng, rng.randint(2, 8))
        for text in (" " + problem.text, "\n\n".join(solve(problem))):
            words |= {word for word, _ in split.pre_tokenize_str(text)}
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer

"""Answers that are plain numbers, as in GSM8K: units are ignored; where none is announced, the last one counts."""

import re

from service.search.answer_extract import extract, last_boxed
from service.search.answer_text import LONGEST_PARSED, number_key, tidy
from strategies.protocol import Answer

_DIGIT = re.compile("[0-9]")
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    r"\\[dt]?frac\{-?[0-9]+\}\{[0-9]+\}"
    r"|(?:(?<![\w.)}\]])[-\u2212])?\$?"
    rf"(?:[0-9]+\s?/\s?[0-9]+(?![0-9.])|{_DIGITS}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,3}}(?!\w))?|(?<![0-9])\.[0-9]+)"
)


class NumberAnswers:
    """An `AnswerReader` for plain numbers: integers, decimals with or without thousands' commas, simple fractions.

    The number is looked for in what is boxed or announced; where that is a formula there is no answer. Where nothing
    is, or something without a digit is announced, the last number of the solution is its answer. Equal values have one
    key, `p` or `p/q` in lowest terms. Time is linear in the length of the solution. Source: GSM8K (Cobbe et al. 2021,
    arXiv:2110.14168) and how it is graded, by "####" strictly and by the last number flexibly.
    """

    async def read(self, solution: str) -> Answer | None:
        """Return the number as it was written; `None` where there is none."""
        text = extract(solution)
        if text is None or (_DIGIT.search(text) is None and last_boxed(solution) is None):
            return _last(solution)
        if len(text) > LONGEST_PARSED:
            return None
        tidied = tidy(text)
        key = number_key(tidied)
        if key is not None:
            return Answer(text, key)
        result = tidied.rpartition("=")[2]
        found = _NUMBER.search(result)
        return None if "\\" in result or found is None else _valued(found[0])


def _last(solution: str) -> Answer | None:
    written = [found[0] for found in _NUMBER.finditer(solution)]
    return next((answer for text in reversed(written) if (answer := _valued(text)) is not None), None)


def _valued(written: str) -> Answer | None:
    if len(written) > LONGEST_PARSED:
        return None
    key = number_key(tidy(written))
    return None if key is None else Answer(written, key)

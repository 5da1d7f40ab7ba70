"""Answers that a client's own pattern finds."""

import sys

from service.errors import InvalidRequest
from service.search.answer_exact import exact_key
from service.search.answer_reducer import AnswerReducer
from strategies.protocol import Answer

_COMMAND = (sys.executable, "-m", "service.search.regex_process")
_DEADLINE_S = 10.0
"""Of the clock: the process ends itself long before, after a second or two of processor time."""
_REMEMBERED = 256
"""Replies: each is kept with the whole text that was searched."""


def pattern_process() -> AnswerReducer:
    """Return the process in which patterns are tried: another one than that of formulas, which must not wait."""
    return AnswerReducer(deadline_s=_DEADLINE_S, remembered=_REMEMBERED, command=_COMMAND)


class RegexAnswers:
    """An `AnswerReader` for one `pattern` with one group, in Python's `re`: its last match is the answer.

    Answers compare as `ExactAnswers` do. One process, whose parent's end is `patterns`, can serve many readers.
    """

    def __init__(self, pattern: str, patterns: AnswerReducer) -> None:
        self._pattern = pattern
        self._patterns = patterns

    async def read(self, solution: str) -> Answer | None:
        """Return what the group holds; `None` where nothing matches.

        Raises `InvalidRequest` where the pattern takes too long, `MullError` where the process does not start.
        """
        found = await self._patterns.ask("last", self._pattern, solution)
        if found is None:
            raise InvalidRequest(
                "`mull.answer.pattern` took too much time or memory on a candidate.",
                hint="Nested repetitions such as (a+)+ grow exponentially: write it without.",
                param="mull.answer.pattern",
            )
        text = found.strip() if isinstance(found, str) else ""
        return Answer(text, exact_key(text)) if text else None

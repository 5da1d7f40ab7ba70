"""Answers in mathematics: found in a solution, reduced alone to a canonical key, graded against a reference."""

from service.search.answer_extract import extract
from service.search.answer_reducer import AnswerReducer
from service.search.answer_text import LONGEST_PARSED, is_words, number_key, tidy, unparsed_key, words_key
from strategies.protocol import Answer


class MathAnswers:
    """An `AnswerReader` for numbers, formulas, intervals, sets, tuples, matrices and short texts.

    Votes compare keys: math-verify's pairwise equivalence is neither symmetric nor transitive, so it only grades.
    Plain numbers and words are reduced here; the rest goes to the reducer's process. Belongs to one event loop.
    """

    def __init__(self, reducer: AnswerReducer | None = None) -> None:
        self._reducer = reducer or AnswerReducer()

    async def read(self, solution: str) -> Answer | None:
        """Return the answer of a finished solution; `None` if it announces none. Raises as `key` does."""
        text = extract(solution)
        return None if text is None else Answer(text, await self.key(text))

    async def key(self, text: str) -> str:
        """Return the canonical key of an answer; never empty. What no parser takes in time is its own key.

        Raises `MullError` where the process that parses answers does not start.
        """
        if len(text) > LONGEST_PARSED:
            return unparsed_key(text)
        tidied = tidy(text)
        key = number_key(tidied)
        if key is not None:
            return key
        if is_words(tidied):
            return words_key(tidied)
        reply = await self._reducer.ask("key", tidied) if tidied else None
        return reply if isinstance(reply, str) else unparsed_key(tidied) or text

    async def equivalent(self, gold: str, answer: str) -> bool:
        """Say whether `answer` is right where `gold` is the reference: equal keys, or math-verify takes them as equal.

        Not symmetric: `x = 5` is right where `5` is asked for. False where math-verify does not decide in time.
        Raises as `key` does. Source: math_verify.verify with its default tolerance of 6 decimals.
        """
        if await self.key(gold) == await self.key(answer):
            return True
        if max(len(gold), len(answer)) > LONGEST_PARSED:
            return False
        texts = tidy(gold), tidy(answer)
        # math-verify reads words as products of letters: east = seat.
        if any(is_words(text) or not text for text in texts):
            return False
        return await self._reducer.ask("verify", *texts) is True

    async def aclose(self) -> None:
        """End the process that parses answers; callers that still wait are cancelled."""
        await self._reducer.aclose()

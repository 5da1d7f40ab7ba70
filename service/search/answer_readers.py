"""The reader that a request's kind of answer asks for."""

from typing import assert_never

from service.search.answer_choice import ChoiceAnswers
from service.search.answer_exact import ExactAnswers
from service.search.answer_number import NumberAnswers
from service.search.answer_reducer import AnswerReducer
from service.search.answer_regex import RegexAnswers, pattern_process
from service.search.answer_spec import AnswerSpec
from service.search.answers import MathAnswers
from service.search.ports import AnswerReader
from strategies.protocol import Answer


class NoAnswers:
    """An `AnswerReader` that finds none: every candidate stands for itself."""

    async def read(self, solution: str) -> Answer | None:
        """Return `None`."""
        return None


class AnswerReaders:
    """The readers of one worker. What they share, two processes that parse, starts when it is first asked.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._math: MathAnswers | None = None
        self._patterns: AnswerReducer | None = None

    def reader(self, spec: AnswerSpec) -> AnswerReader:
        """Return what reads answers of that kind."""
        match spec.kind:
            case "math":
                self._math = self._math or MathAnswers()
                return self._math
            case "choice":
                return ChoiceAnswers(spec.choices)
            case "number":
                return NumberAnswers()
            case "regex":
                self._patterns = self._patterns or pattern_process()
                return RegexAnswers(spec.pattern or "", self._patterns)
            case "exact":
                return ExactAnswers()
            case "none":
                return NoAnswers()
            case _:
                assert_never(spec.kind)

    async def aclose(self) -> None:
        """End the processes; callers that still wait are cancelled."""
        for process in (self._math, self._patterns):
            if process is not None:
                await process.aclose()

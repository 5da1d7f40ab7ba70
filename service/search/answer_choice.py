"""Answers to multiple choice: the label that a solution boxes, announces, or writes alone on its last line."""

import re
from collections.abc import Sequence

from service.search.answer_extract import announced, last_boxed
from strategies.protocol import Answer

_WRAP = r"(?:\\(?:text|textbf|textrm|mathrm|mathbf|boxed)\s?\{|\\?[(\[{$]|\*\*|[\"'`*_])"
_CLOSE = r"(?:\\?[)\]}$]|[\"'`*_])"
_NAMED = r"(?:(?:option|choice|answer|letter)[ \t])?"


class ChoiceAnswers:
    r"""An `AnswerReader` for labels such as A to E; keys are the labels as they were listed.

    Taken are, in this order: the last `\boxed{…}` if a label is in it, alone or before its option's text ("(B) 12");
    what follows the last "answer is", "answer:" or "####"; the last line, if it is a label alone; a text of one line
    that begins as an option does ("B. Paris"). Brackets, quotes and emphasis around a label are ignored. Time is linear
    in the length of the solution. Source: the patterns with which MMLU-Pro is graded (Wang et al. 2024,
    arXiv:2406.01574), without their last one: a letter that merely stands somewhere is no answer.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = {label.casefold(): label for label in labels}
        anycase = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
        # Within a sentence "a" is a word and "A" a label; a word such as "yes" is a label in any case.
        single = "|".join(re.escape(label) for label in labels if len(label) == 1)
        words = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True) if len(label) > 1)
        within = "|".join(choice for choice in (f"(?i:{words})" if words else "", single) if choice)
        end = r"(?![\w'])"
        wrapped = rf"(?i:{_NAMED}){_WRAP}{{1,6}}(?P<wrapped>(?i:{anycase}))\.?{_CLOSE}"
        self._begins = re.compile(rf"{wrapped}|(?i:{_NAMED})(?P<bare>{within}){end}")
        self._alone = re.compile(rf"{_WRAP}{{0,6}}(?i:{_NAMED})(?P<bare>(?i:{anycase})){end}[.)]?{_CLOSE}{{0,6}}\.?")
        self._option = re.compile(
            rf"{_WRAP}{{0,6}}(?P<bare>(?i:{anycase}))(?:[)\]}}.:]|{_CLOSE}+[ \t\\])(?!\w).*", re.S
        )

    async def read(self, solution: str) -> Answer | None:
        """Return the label that a solution ends with, as it was written; `None` if it chooses none."""
        boxed = last_boxed(solution)
        label = None if boxed is None else self._matched(self._alone, boxed) or self._matched(self._option, boxed)
        if label is None and (rest := announced(solution)) is not None:
            label = self._matched(self._alone, rest) or self._begun(rest)
        label = label or self._last_line(solution)
        return None if label is None else Answer(label, self._labels[label.casefold()])

    def _begun(self, rest: str) -> str | None:
        found = self._begins.match(rest)
        return found and (found["wrapped"] or found["bare"])

    def _last_line(self, solution: str) -> str | None:
        text = solution.rstrip()
        last = text[text.rfind("\n") + 1 :].strip()
        label = self._matched(self._alone, last)
        one_line = last == text.strip()
        return label or (self._matched(self._option, last) if one_line else None)

    def _matched(self, pattern: re.Pattern[str], text: str) -> str | None:
        found = pattern.fullmatch(text)
        return found["bare"] if found else None

"""Cutting a stream of text into steps, as the text arrives."""

import re
from copy import deepcopy
from functools import lru_cache

from service.search.thinking import ThinkingPart
from service.settings import StepForm

_INK = re.compile(r"\S")
_BRACES = re.compile(r"\\{1,2}boxed\s{0,3}(?P<box>\{)(?!\s*\})|\\.|[{}]", re.S)
_LONE_N = re.compile(r"\bN\b")
# Bounded, so that what is held back is short.
_NUMBER = "[0-9]{1,6}"


class StepSplitter:
    """Finds step boundaries in text that comes in pieces of any size; what it finds does not depend on the pieces.

    A step is text up to and including the separator that ends it, or up to the line whose heading begins the next one.
    Whitespace that follows leads the next step: a thinking part and the steps joined are the text again, but for
    whitespace after the last step. Whitespace alone is never a step. A step is told with the first piece after which
    no more text can move its end. Time is linear in the length of the text.
    """

    def __init__(self, form: StepForm) -> None:
        self._form = form
        self._boundary = _boundary(form.separators, form.headings)
        self._thinking = None if form.thinking == "steps" else ThinkingPart(opened=form.thinking == "opened")
        self._answer = _BoxedAnswer(within_thinking=form.thinking == "steps")
        self._steps: list[str] = []
        # The step that is not finished: pieces that hold no boundary, then what may be the beginning of one.
        self._head: list[str] = []
        self._tail = ""
        self._has_ink = False
        self._answered = False

    def fork(self) -> "StepSplitter":
        """Return one that goes on from here by itself."""
        return deepcopy(self, {id(self._form): self._form, id(self._boundary): self._boundary})

    def feed(self, text: str) -> list[str]:
        """Take the next piece and return the steps that it completes, oldest first; none after the answer's."""
        if self._answered:
            return []
        if self._thinking is not None:
            text = self._thinking.feed(text)
        window, begin, known = self._tail + text, 0, len(self._steps)
        while (cut := self._cut(window, begin)) is not None:
            step = "".join((*self._head, window[begin:cut]))
            self._steps.append(step)
            self._head.clear()
            self._tail, self._has_ink, begin = "", False, cut
            if self._form.end_at_answer and self._answer.complete_after(step):
                self._answered = True
                break
        return self._steps[known:]

    def rest(self) -> str:
        """Return the last step, which nothing but the stream's end closes; empty if there is none."""
        last = self._unfinished()
        return last if last.strip() else ""

    @property
    def answered(self) -> bool:
        """Whether a finished step has completed an answer outside thinking: nothing that follows matters."""
        return self._answered

    @property
    def text(self) -> str:
        """All that was written, thinking included, up to the end of the step that completed the answer."""
        thinking = "" if self._thinking is None else self._thinking.text
        return thinking + self._after_thinking()

    @property
    def settled(self) -> str:
        """`text` without an end that may turn out to belong to the next step: `text` will always begin with it."""
        thinking = "" if self._thinking is None else self._thinking.text
        return "".join((thinking, *self._steps, *self._head))

    @property
    def solution(self) -> str:
        """`text` without the thinking part: what the answer is read from."""
        if self._thinking is not None:
            return self._after_thinking()
        part, text = ThinkingPart(opened=False), self._after_thinking()
        return part.feed(text) + part.undecided

    def _after_thinking(self) -> str:
        return "".join(self._steps) + self._unfinished()

    def _unfinished(self) -> str:
        undecided = "" if self._thinking is None else self._thinking.undecided
        return "".join(self._head) + self._tail + undecided

    def _cut(self, window: str, begin: int) -> int | None:
        """Return where the step that goes on at `begin` ends; if that is not known yet, keep the text for later."""
        start = begin
        if not self._has_ink:
            ink = _INK.search(window, begin)
            self._has_ink = ink is not None
            start = ink.start() if ink else len(window)
        found = self._boundary.search(window, start) if self._has_ink else None
        if found and found.lastindex is None:
            return found.end()
        undecided = found.start() if found else len(window)
        self._head.append(window[begin:undecided])
        self._tail = window[undecided:]
        return None


class _BoxedAnswer:
    """Tells when a balanced `\\boxed{…}` that holds something is complete; braces may close in a later step."""

    def __init__(self, *, within_thinking: bool) -> None:
        self._thinking = ThinkingPart(opened=False) if within_thinking else None
        self._opened: list[bool] = []  # one entry per open brace: whether it is a box's

    def complete_after(self, step: str) -> bool:
        """Read the next step, and say whether it completes a box."""
        if self._thinking is not None:
            step = self._thinking.feed(step)
        for token in _BRACES.finditer(step):
            if token["box"] or token[0] == "{":
                self._opened.append(token["box"] is not None)
            elif token[0] == "}" and self._opened and self._opened.pop():
                return True
        return False


@lru_cache(maxsize=64)
def _boundary(separators: tuple[str, ...], headings: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds the first boundary: its end is the cut, unless a `lastindex` says that only half is there.

    Of several separators at one place the longest wins, so its half comes before a shorter one that is complete.
    """
    choices = []
    for separator in sorted(separators, key=len, reverse=True):
        atoms = [re.escape(character) for character in separator]
        choices += ["".join(atoms), *_halves(atoms)]
    for heading in headings:
        numbers = {match.start() for match in _LONE_N.finditer(heading)}
        atoms = [_NUMBER if place in numbers else re.escape(char) for place, char in enumerate(heading)]
        choices += [rf"\n(?={''.join(atoms)})", *_halves([r"\n", *atoms])]
    return re.compile("|".join(choices) or r"(?!)")


def _halves(atoms: list[str]) -> list[str]:
    return ["".join(atoms[:length]) + r"\Z()" for length in range(len(atoms) - 1, 0, -1)]

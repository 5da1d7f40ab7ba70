r"""Where formulas begin and end in text with LaTeX in it.

A dollar sign is read as pandoc reads it (its extension `tex_math_dollars`): one that opens a formula has no white space
after it, and the next one closes it if it has none before it and no digit after it; all others are money.
"""

import re

_INLINE = re.compile(r"\$(?![\s$])(?:[^$\\]|\\.)*+(?<!\s)\$(?!\d)", re.DOTALL)
_ENVIRONMENTS = "equation|align|alignat|aligned|gather|gathered|multline|flalign|eqnarray|split|cases|array|math"
_BEGIN = re.compile(rf"\\begin\{{((?:{_ENVIRONMENTS}|displaymath|[bBpvV]?(?:small)?matrix)\*?)\}}")
_COMMAND = re.compile(r"\\(?!text|emph|mbox|item|section|par|newline|noindent|q?quad|label|begin|end)[A-Za-z]+\*?")
_OPTION = re.compile(r"\[[^\[\]{}]*\](?=\{)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_CLOSERS = {"$$": "$$", r"\(": r"\)", r"\[": r"\]"}


class Formulas:
    """Finds the end of what begins at a place of `text`; all answers together take time linear in its length."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._partners = _partners(text)
        self._last: dict[str, int] = {}

    def end(self, place: int) -> int | None:
        """Return where the formula that begins at `place` ends; `None` where none begins."""
        text = self._text
        closer = _CLOSERS.get(text[place : place + 2])
        if closer is not None and (end := self._closed(place + 2, closer)) is not None:
            return end
        if text[place] == "$":
            inline = _INLINE.match(text, place)
            return inline.end() if inline else None
        if (begin := _BEGIN.match(text, place)) is not None:
            return self._closed(begin.end(), f"\\end{{{begin[1]}}}")
        command = _COMMAND.match(text, place)
        return self._arguments(command.end()) if command else None

    def script_end(self, place: int) -> int | None:
        """Return where the sub- or superscript in braces ends whose `_` or `^` is at `place`; `None` without braces."""
        end = self._arguments(place + 1)
        return end if end > place + 1 else None

    def _closed(self, place: int, closer: str) -> int | None:
        if closer not in self._last:
            self._last[closer] = self._text.rfind(closer)
        return None if self._last[closer] < place else self._text.index(closer, place) + len(closer)

    def _arguments(self, place: int) -> int:
        """Return where the arguments end that begin at `place`; `place` itself without any."""
        while True:
            option = _OPTION.match(self._text, place)
            begin = option.end() if option else place
            if begin not in self._partners:
                return place
            place = self._partners[begin] + 1


def _partners(text: str) -> dict[int, int]:
    """Return the place of the closing brace by that of the opening one, for all that are closed."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            partners[opened.pop()] = brace.start()
    return partners

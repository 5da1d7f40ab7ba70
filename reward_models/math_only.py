r"""A step without its words: formulas and numbers only.

"What Are Step-Level Reward Models Rewarding?" (Ma et al. 2025, arXiv:2412.15904) takes a step apart into the
description of a thought and the mathematical expressions that carry it out, and finds that a reward model which sees
the expressions alone (MO-SRM, the value of (E_0 … E_i)) guides a search as well. There two models write the two parts;
here one text is stripped by rule, so what is left is an approximation. The paper takes away the thoughts of the steps;
the problem is the state from which they start, and is not said to lose its words.

What stays, as it is written:

- formulas in `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and environments of equations, with all that is in them;
- LaTeX commands with their arguments, `\boxed{…}` with an answer in words among them;
- numbers, operators and the brackets around them, percent signs;
- single letters beside an operator or directly at a number (`x = 2`, `3n`), functions before a bracket (`f(x)`).

Words of two letters or more are language, and so are numbers in words, units and currency signs, in any script.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reward_models.formulas import Formulas

_GREEK = "\u0391-\u03a9\u03b1-\u03c9\u03d1\u03d5\u03f5"
_SMALL = "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u215f"  # superscripts, subscripts, fractions
_LETTER = rf"[^\W\d_{_GREEK}{_SMALL}]"
_JOINT = "['\u2019/-]"
_OPERATORS = "-+*/=<>^_%|~\u00b0\u00b1\u00b7\u00d7\u00f7\u2012\u2013\u2032\u2190-\u22ff\u2a00-\u2aff"
_FUNCTIONS = "sin|cos|tan|cot|log|ln|lg|exp|sqrt|abs|max|min|gcd|lcm|det"
_TOKEN = re.compile(
    rf"""
      (?P<space>[^\S\n]+|\\[,;:!\ ])
    | (?P<line>\n)
    | (?P<number>\.?\d+(?:[.,]\d+)*!?|[{_SMALL}]+|[{_GREEK}]
               | (?:{_FUNCTIONS}|[B-HJ-Zb-z])\([A-Za-z](?:,\ ?[A-Za-z])*\))
    | (?P<open>(?:{_FUNCTIONS}|[A-Za-z])?[(\[{{]|\\\{{)
    | (?P<close>[)\]}}]|\\\}})
    | (?P<word>(?:[-/](?!(?:{_FUNCTIONS})\())?(?!mod(?!{_LETTER})){_LETTER}{{2,}}(?:{_JOINT}{_LETTER}+)*
               (?:\^-?\d+|[{_SMALL}]+)?
             | [A-Za-z](?:['\u2019]|{_JOINT}{_LETTER}){_LETTER}+(?:{_JOINT}{_LETTER}+)*)
    | (?P<operator>mod|\\%|[{_OPERATORS}])
    | (?P<letter>[A-Za-z])
    | (?P<mark>[.,;:])
    | (?P<other>\\[A-Za-z]+|\\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPERANDS = {"formula", "number", "letter"}
_WORDS = "aAI"
_IN_PROSE = {*"-*_|~%<>\u00b0\u2012\u2013\u2190\u2192\u21d2", "\\%"}
"""Operators that prose, or its markup, may have beside a word of one letter."""
_BRACKETS = {"(": ")]", "[": ")]", "{": "}"}  # a half-open interval closes with the other one


class _Token(NamedTuple):
    """`spaced`: white space stands before it, or something did that was taken away."""

    kind: str
    text: str
    spaced: bool


def math_only(text: str) -> str:
    """Return `text` without its natural language; what is left of a line stays a line, and empty lines go.

    Characters are taken away, and white space comes between what then meets: nothing else is added. Of the marks
    between two expressions one is left. Stripping twice is stripping once. Takes time linear in the length.
    """
    kept: list[str] = []
    gap = ""
    for expression, marks in _expressions(_judged(list(_tokens(text)))):
        gap += marks
        if expression:
            if kept:
                kept.append(gap.strip()[:1] + ("\n" if "\n" in gap else " "))
            kept.append(_written(expression))
            gap = ""
    return "".join(kept)


def _tokens(text: str) -> Iterator[_Token]:
    formulas = Formulas(text)
    place, spaced = 0, False
    while place < len(text):
        kind, end = _next(text, place, formulas)
        if kind != "space":
            yield _Token(kind, text[place:end], spaced)
        spaced = kind == "space"
        place = end


def _next(text: str, place: int, formulas: Formulas) -> tuple[str, int]:
    """Return what begins at `place`, and where it ends."""
    if text[place] in "$\\" and (end := formulas.end(place)) is not None:
        return "formula", end
    if text[place] in "_^" and (end := formulas.script_end(place)) is not None:
        return "operator", end
    found = _TOKEN.match(text, place)
    if found is None or found.lastgroup is None:
        raise AssertionError("one of the alternatives is any character")
    return found.lastgroup, found.end()


def _judged(tokens: list[_Token]) -> list[_Token]:
    """Tell letters that are symbols from those that are words."""
    nothing = _Token("line", "", True)
    around = [nothing, *tokens, nothing]
    return [
        token._replace(kind="word") if token.kind == "letter" and not _symbol(before, token, after) else token
        for before, token, after in zip(around, tokens, around[2:], strict=False)
    ]


def _symbol(before: _Token, letter: _Token, after: _Token) -> bool:
    """Whether a letter is a symbol.

    It depends only on neighbours that stay wherever the letter does: otherwise stripping again would change more.
    """
    if letter.text in "xX" and before.kind == after.kind == "number":  # a multiplication sign
        return True
    for neighbour, apart in ((before, letter.spaced), (after, after.spaced)):
        plain = letter.text not in _WORDS
        match neighbour.kind:
            case "number" if not apart:
                return True
            case "operator" if plain or not apart or neighbour.text not in _IN_PROSE:
                return True
            case "formula" if plain:
                return True
    return False


def _expressions(tokens: Sequence[_Token]) -> Iterator[tuple[list[_Token], str]]:
    """Return the expressions in order, or an empty one, each with the marks and line ends before it."""
    run: list[_Token] = []
    for token in (*tokens, _Token("line", "", True)):
        if token.kind not in ("word", "other", "line"):
            run.append(token)
            continue
        balanced, run = _balanced(run), []
        begin, end = _bare(balanced)
        if any(part.kind in _OPERANDS for part in balanced[begin:end]):
            yield balanced[begin:end], _marks(balanced[:begin])
            begin = end
        else:
            begin = 0
        yield [], _marks(balanced[begin:]) + (token.text if token.kind == "line" else "")


def _balanced(run: Sequence[_Token]) -> list[_Token]:
    """Take away the brackets that have no partner."""
    lone: set[int] = set()
    opened: list[int] = []
    for place, token in enumerate(run):
        if token.kind == "open":
            opened.append(place)
        elif token.kind == "close":
            if opened and token.text[-1] in _BRACKETS[run[opened[-1]].text[-1]]:
                opened.pop()
            else:
                lone.add(place)
    lone.update(opened)
    return [
        token._replace(spaced=True) if place - 1 in lone else token
        for place, token in enumerate(run)
        if place not in lone
    ]


def _bare(run: Sequence[_Token]) -> tuple[int, int]:
    """Return where a run begins and ends without the marks around it."""
    places = [place for place, token in enumerate(run) if token.kind != "mark"]
    return (places[0], places[-1] + 1) if places else (0, 0)


def _marks(run: Sequence[_Token]) -> str:
    return "".join(token.text for token in run if token.kind == "mark")


def _written(expression: Sequence[_Token]) -> str:
    """Return an expression as text; a dollar sign stands apart from what could be taken for its other neighbour."""
    parts: list[str] = []
    for before, token in zip((None, *expression), expression, strict=False):
        dollars = token.text[0] == "$" or (before is not None and before.text[-1] == "$")
        if before is not None and (token.spaced or (dollars and token.kind not in ("mark", "close"))):
            parts.append(" ")
        parts.append(token.text)
    return "".join(parts)

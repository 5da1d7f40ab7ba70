"""The part of reducing an answer that needs no parser: notation made uniform, plain numbers, words.

Choices that decide which votes pool:

- A percent sign, a currency and a unit are dropped: `50\\%`, `\\$50` and `50 cm` are `50`. A question that asks "how
  many percent" has `50` and `50\\%` among its right answers, and graders of this field take both; `0.5` stays apart.
- `52_8` keeps its base. A time of day (`4:30`) is text; any other `a:b` is a ratio.
- A degree sign is a unit, except in the argument of a trigonometric function. `3 million` is 3,000,000.
- `AB = 5`, `\\angle A = 5` and `\\text{Area} = 5` are `5`, as `x = 5` is.
- Words compare without case, brackets and full stops: `\\text{(C)}` is `c`, `4:30 p.m.` is `4:30pm`.
"""

import hashlib
import re
from fractions import Fraction

from service.search.answer_unicode import latex_of

LONGEST_PARSED = 500
"""Characters. Final answers are shorter, and a parser's time grows faster than the length."""

_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
"""Powers of ten."""

_TEXT = r"\\(?:text|textbf|textit|textrm|textsf|mbox|hbox|mathrm|mathbf|mathit|mathsf)\s?"
_WHOLLY_TEXT = re.compile(_TEXT + r"\{([^{}]*)\}")
_TEXT_UNIT = re.compile(r"(?<=\S)\s*(?:/?\s*" + _TEXT + r"\{[^{}]*\}(?:\^\{?-?\d\}?)?\s*)+$")
_PLAIN_UNIT = re.compile(
    r"(?<=[\d})])(?:\s+[A-Za-z]{3,}|\s*(?:cm|mm|km|kg|mg|ml|ft|in|oz|lb|lbs|mph|hr|hrs|min|sec))"
    r"(?:\s+[A-Za-z]+|/[A-Za-z]+)*(?:\^\{?[23]\}?)?$"
)
_NOT_UNITS = re.compile(
    r"\b(?:and|or|pi|sqrt|sin|cos|tan|cot|log|mod|dozen|[ap]\.?m|tenths?|(?:" + "|".join(_SCALES) + r")(?:ths?)?)\b",
    re.I,
)
_DEGREE = r"(?:\s?\^\s?(?:\\circ|\{\s?\\circ\s?\})|\\degree(?![A-Za-z]))"

_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\[()\[\]$%!]|[$%]|\\displaystyle(?![A-Za-z])|\\(?:left|right)(?![A-Za-z])", ""),
        (r"(?<!\\)\\[,;: ]|~|\\quad(?![A-Za-z])", " "),
        (r"\{,\}", ","),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac ?([A-Za-z\d]) ?([A-Za-z\d])", r"\\frac{\1}{\2}"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset "),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![A-Za-z\\])inf(?:inity)?(?![A-Za-z])", r"\\infty "),
        (r"(?<![A-Za-z\\])(?=(?:sin|cos|tan|cot|log|ln)[ (\\])", r"\\"),
        (
            r"(\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])(?:\s?\^\s?\{?\d\}?)?\s?[({]?\s?)(\d+(?:\.\d+)?)" + _DEGREE,
            r"\1(\\frac{\2\\pi}{180})",
        ),
        (_DEGREE, ""),
        # `3\text{ million dollars}` is `3\times 10^{6} dollars`, whose unit goes as any other.
        (_TEXT + r"\{\s*((?:" + "|".join(_SCALES) + r")s?\b[^{}]*)\}", r" \1"),
        *((r"(?<=[\d})])\s*" + word + r"s?\b", rf"\\times 10^{{{power}}}") for word, power in _SCALES.items()),
        (r"(?<=\d)\s?\^\s?(\{\s?)?" + _TEXT + r"\{(?:st|nd|rd|th)\}(?(1)\s?\})", ""),
        # A vector is no unit: 3\mathbf{i} is not three.
        (r"\\(?:mathbf|boldsymbol|vec|hat)\s?\{([A-Za-z])\}", r" \1"),
        # A product, which math-verify reads as a mixed number: 2(3). Of \log_2(8) and f(2) nothing is changed.
        (
            r"((?<![\w.^{}])\d+(?:\.\d+)?|(?<![A-Za-z}_^])\(-?\d+(?:\.\d+)?\)) ?"
            r"(?=\((?:[\d\s.+*/^{}-]|\\(?:frac|sqrt))+\))",
            r"\1\\cdot ",
        ),
        (r"\*\*", "^"),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\s+", " "),
    )
)
_LEADING = re.compile(r"^(?:=|\\approx(?![A-Za-z]))\s*")
_TRAILING = re.compile(r"(?:\\|(?<!\.)[.,;])+$")
_NAMED = re.compile(
    r"^(?:(?:m?\s?\\(?:angle|overline)\s?\{?[A-Z]{1,4}\}?|[A-Z]{2,4}|" + _TEXT + r"\{[^{}]*\})\s?=\s?)+"
)

_DECIMAL = re.compile(r"(?:\d+|\d{1,3}(?:[ ,]\d{3})+)(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|\.\d+")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s?(?:\{(\d+)\}|(\d))")
_FRACTION = re.compile(r"\\frac\s?(?:(\d)|\{\s?(-?\d+)\s?\})\s?(?:(\d)|\{\s?(-?\d+)\s?\})|(\d+)\s?/\s?(\d+)")
_MIXED = re.compile(r"(\d+)\s?(?=\\frac)|(\d+) (?=\d+/)")
_ASSIGNED = re.compile(r"^[A-Za-z](?:_\{?\w\}?)?\s?=\s?")

_BASE = re.compile(r"(\w+)_\{?(\d+)\}?")
_TIME = re.compile(r"\d{1,2}:\d{2}(?!\d)")
_LABEL = re.compile(r"\(?[A-Za-z]\)?|[A-Z]{2}|[Nn]o")
_PHRASE = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z][A-Za-z ,.'()-]*")
_LONG_WORD = re.compile(r"(?<![A-Za-z\\])(?!sqrt|[bpvBV]?matrix|array|cases|aligned)[A-Za-z]{4,}")


def tidy(text: str) -> str:
    """Return `text` in one notation: no units, currencies or spacing commands, one form of each LaTeX command."""
    text = latex_of(text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _NAMED.sub("", _LEADING.sub("", _TRAILING.sub("", text.strip()).strip()))
    while whole := _WHOLLY_TEXT.fullmatch(text):
        text = whole[1].strip()
    return _without_unit(text).strip()


def _without_unit(text: str) -> str:
    for pattern in (_TEXT_UNIT, _PLAIN_UNIT):
        unit = pattern.search(text)
        if unit and not _NOT_UNITS.search(unit[0]):
            text = text[: unit.start()]
    return text


def number_key(tidied: str) -> str | None:
    """Return `p` or `p/q` in lowest terms where `tidied` is a plain number (`x = 5` included), else `None`."""
    text = _ASSIGNED.sub("", tidied)
    sign = -1 if text.startswith("-") else 1
    value = _unsigned(text.lstrip("+-").strip()) if text[:2] not in ("--", "+-", "-+") else None
    return None if value is None else str(sign * value)


def _unsigned(text: str) -> Fraction | None:
    if _DECIMAL.fullmatch(text):
        return Fraction(re.sub("[ ,]", "", text))
    if repeating := _REPEATING.fullmatch(text):
        whole, fixed, *periods = repeating.groups()
        period = periods[0] or periods[1]
        fixed_value = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
        return fixed_value + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    mixed = _MIXED.match(text)
    fraction = _FRACTION.fullmatch(text, mixed.end() if mixed else 0)
    if not fraction:
        return None
    numerator, denominator = (int(digits) for digits in fraction.groups() if digits is not None)
    if denominator == 0 or (mixed and numerator < 0):
        return None
    whole_part = int(mixed[1] or mixed[2]) if mixed else 0
    return whole_part + Fraction(numerator, denominator)


def is_words(tidied: str) -> bool:
    """Say whether an answer is prose, a label, a time or a number in a named base: nothing for a parser of formulas."""
    whole = (_BASE, _LABEL, _PHRASE)
    return any(p.fullmatch(tidied) for p in whole) or bool(_TIME.match(tidied) or _LONG_WORD.search(tidied))


def words_key(tidied: str) -> str:
    """Return the key of an answer in words."""
    text = re.sub(_TEXT + r"(?=\{)", "", tidied).casefold()
    return unparsed_key(re.sub(r"[(){}\[\]\"'\\]|\.(?!\d)", "", text) or tidied)


def unparsed_key(text: str) -> str:
    """Return the key of an answer that no parser takes: its text without spaces, or its SHA-256 where it is long."""
    if len(text) > LONGEST_PARSED:
        return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)

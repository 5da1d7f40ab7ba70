"""Unicode made LaTeX: one code point for each sign, and nothing invisible."""

import re
import unicodedata

_SYMBOLS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{HYPHEN}": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{MIDDLE DOT}": r"\cdot ",
    "\N{DIVISION SIGN}": "/",
    "\N{SQUARE ROOT}": r"\sqrt ",
    "\N{GREEK SMALL LETTER PI}": r"\pi ",
    "\N{INFINITY}": r"\infty ",
    "\N{DEGREE SIGN}": r"^\circ ",
    "\N{UNION}": r"\cup ",
    "\N{EMPTY SET}": r"\emptyset ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
    "\N{PLUS-MINUS SIGN}": r"\pm ",
    "\N{DOUBLE-STRUCK CAPITAL R}": r"\mathbb{R}",
    "\N{DOUBLE-STRUCK CAPITAL Z}": r"\mathbb{Z}",
    "\N{EURO SIGN}": "",
    "\N{POUND SIGN}": "",
}
_VULGAR_FRACTIONS = {
    sign: r"\frac{" + unicodedata.normalize("NFKC", sign).replace("\N{FRACTION SLASH}", "}{") + "}"
    for sign in map(chr, (*range(0xBC, 0xBF), *range(0x2150, 0x215F)))
}
_TRANSLATION = str.maketrans(_SYMBOLS | _VULGAR_FRACTIONS)
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207e]+")
_LOWERED = re.compile("[\u2080-\u208e]+")


def latex_of(text: str) -> str:
    """Return `text` with its mathematical signs as LaTeX, full-width forms as ASCII, and no control characters.

    White space stays; marks of zero width and of writing direction go. Source: Unicode Standard Annex 15, form NFKC,
    which alone would make `10²` into `102`, and the signs for one half and for the reals into `1/2` and `R` as text.
    """
    text = _RAISED.sub(lambda run: f"^{{{_folded(run[0])}}}", text)
    text = _LOWERED.sub(lambda run: f"_{{{_folded(run[0])}}}", text)
    text = _folded(text.translate(_TRANSLATION))
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text)

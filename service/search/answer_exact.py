"""Answers that are the whole text of a solution."""

import hashlib
import json
from decimal import Decimal, InvalidOperation
from typing import Any

from strategies.protocol import Answer

LONGEST_KEY = 500
"""Characters; a longer text has its SHA-256 as key."""


class ExactAnswers:
    """An `AnswerReader` that takes the whole text as the answer; runs of white space are one space.

    A JSON object or array is compared as JSON: white space, the order of keys and the spelling of strings and numbers
    (`1.0`, `1`) make no difference, the order of an array does. One with a key twice is text.
    """

    async def read(self, solution: str) -> Answer | None:
        """Return the text without white space around it; `None` where nothing is left."""
        text = solution.strip()
        return Answer(text, exact_key(text)) if text else None


def exact_key(text: str) -> str:
    """Return the key of a text that is an answer as it stands; never empty where the text is not."""
    normal = _canonical_json(text) or " ".join(text.split())
    if len(normal) <= LONGEST_KEY:
        return normal
    return "sha256:" + hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical_json(text: str) -> str | None:
    if not text.startswith(("{", "[")):
        return None
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=Decimal, parse_float=Decimal, parse_constant=_no_number
        )
        return _written(value)
    except (ValueError, InvalidOperation, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _written(value: Any) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{_written(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case Decimal():
            return _number(value)
        case _:
            return json.dumps(value)


def _number(value: Decimal) -> str:
    """Return one spelling of each value. `Decimal.normalize` would round."""
    sign, digits, exponent = value.as_tuple()
    significant = "".join(map(str, digits)).lstrip("0")
    whole = significant.rstrip("0")
    if not whole:
        return "0"
    power = int(exponent) + len(significant) - len(whole)
    return f"{'-' if sign else ''}{whole}" + (f"e{power}" if power else "")

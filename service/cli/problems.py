"""Files of one JSON object a line: problems with known answers, and what other commands read."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

Read = TypeVar("Read")

SHOWN = 5
"""Bad lines named in one message."""
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and its known answer; `id` names it in messages."""

    id: str
    problem: str
    answer: str


class BadFile(Exception):
    """A file that cannot be used; the message names the lines and what is wrong with them."""


def read_problems(path: Path, limit: int | None = None) -> list[Problem]:
    """Return the first `limit` (default: all) problems of `path`, in its order; blank lines are passed over.

    Raises `BadFile` if one of them is not an object with "id", "problem" and "answer", or if there is none.
    """
    return read_objects(path, lambda value, _: _problem(value), "problems", '{"id", "problem", "answer"}', limit)


def read_objects(
    path: Path, parse: Callable[[dict[str, object], int], Read], what: str, form: str, limit: int | None = None
) -> list[Read]:
    """Return what `parse` makes of the objects in the first `limit` lines of `path`; `-` is stdin.

    `parse` is told the number of the line, and raises `ValueError` where the object is not one of `what`, in the form
    `form`. Raises `BadFile` that names such lines, or where there are no lines but blank ones.
    """
    found: list[Read] = []
    bad: list[str] = []
    try:
        for number, line in islice(_lines(path), limit):
            try:
                found.append(parse(_object(line), number))
            except ValueError as error:
                bad.append(f"line {number}: {error}")
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from error
    if bad:
        more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise BadFile("\n".join([f"{path} holds lines that are no {what}:", *bad[:SHOWN], *more]))
    if not found:
        raise BadFile(f"{path} holds no {what}: one {form} object a line is wanted.")
    return found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def _object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _problem(value: dict[str, object]) -> Problem:
    problem = Problem(*(_field(value, name) for name in ("id", "problem", "answer")))
    if not problem.problem.strip():
        raise ValueError('"problem" is empty')
    return problem


def _field(value: dict[str, object], name: str) -> str:
    """A text, or a number written without quotation marks, as answers and ids often are."""
    if name not in value:
        raise ValueError(f'"{name}" is missing')
    found = value[name]
    if isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool) and name != "problem":
        return str(found)
    raise ValueError(f'"{name}" is not a text')

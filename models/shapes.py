"""The sentence shapes: how one fact is said, what it means, and how it is commonly misread."""

from collections.abc import Callable
from dataclasses import dataclass

Relation = tuple[str, Callable[[int, int], int | None]]


def _half(value: int, _amount: int) -> int | None:
    return value // 2 if value % 2 == 0 else None


PLUS: Relation = ("+", lambda value, amount: value + amount)
MINUS: Relation = ("-", lambda value, amount: value - amount)
TIMES: Relation = ("*", lambda value, amount: value * amount)
DIVIDED: Relation = ("/", _half)


@dataclass(frozen=True)
class Shape:
    """One way to say how many things a person has, given how many another person has.

    `misread` is the relation that a careless reader sees instead, `misread_rate` the probability in [0, 1] that an
    author of the policy's training text does so, for amounts below ten and from ten on.
    """

    text: str
    relation: Relation
    amounts: tuple[int, int]
    misread: Relation | None = None
    misread_rate: tuple[float, float] = (0.0, 0.0)


PLAIN: dict[str, Shape] = {
    "more": Shape("{new} has {k} more {item} than {known}", PLUS, (2, 15)),
    "fewer": Shape("{new} has {k} fewer {item} than {known}", MINUS, (2, 15)),
    "beats": Shape("{new} beats {known} by {k} {item}", PLUS, (2, 15)),
    "needs": Shape("{new} needs {k} more {item} to match {known}", MINUS, (2, 15)),
    "times": Shape("{new} has {k} times as many {item} as {known}", TIMES, (2, 3)),
    "half": Shape("{new} has half as many {item} as {known}", DIVIDED, (2, 2)),
}

MISLEADING: dict[str, Shape] = {
    "known_more": Shape("{known} has {k} more {item} than {new}", MINUS, (2, 15), PLUS, (0.68, 0.50)),
    "known_fewer": Shape("{known} has {k} fewer {item} than {new}", PLUS, (2, 15), MINUS, (0.72, 0.60)),
    "known_twice": Shape("{known} has twice as many {item} as {new}", DIVIDED, (2, 2), TIMES, (0.58, 0.58)),
    "known_half": Shape("{known} has half as many {item} as {new}", TIMES, (2, 2), DIVIDED, (0.40, 0.40)),
    "giving": Shape("{new} would match {known} after giving away {k} {item}", PLUS, (2, 15), MINUS, (0.65, 0.42)),
    "finding": Shape("{new} would match {known} after finding {k} {item}", MINUS, (2, 15), PLUS, (0.62, 0.40)),
}

SHAPES: dict[str, Shape] = PLAIN | MISLEADING

GIVEN = "{new} has {k} {item}"
TOGETHER = "{new} has as many {item} as {a} and {b} together"
QUESTION = "How many {item} does {new} have?"

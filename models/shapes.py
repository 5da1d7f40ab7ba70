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
    "trails": Shape("{known} trails {new} by {k} {item}", PLUS, (2, 15)),
    "beats": Shape("{known} beats {new} by {k} {item}", MINUS, (2, 15)),
    "needs": Shape("{known} needs {k} more {item} to match {new}", PLUS, (2, 15)),
    "finding": Shape("{known} would match {new} after finding {k} {item}", PLUS, (2, 15)),
    "giving": Shape("{known} would match {new} after giving away {k} {item}", MINUS, (2, 15)),
    "times": Shape("{known} needs {k} times as many {item} to match {new}", TIMES, (2, 3)),
    "half": Shape("{known} needs half as many {item} to match {new}", DIVIDED, (2, 2)),
}

# The person who is not known yet comes first: rare, and hard for the policy to find in the text.
REVERSED: dict[str, Shape] = {
    "more": Shape("{new} has {k} more {item} than {known}", PLUS, (2, 15)),
    "fewer": Shape("{new} has {k} fewer {item} than {known}", MINUS, (2, 15)),
}

MISLEADING: dict[str, Shape] = {
    "known_more": Shape("{known} has {k} more {item} than {new}", MINUS, (2, 15), PLUS, (0.66, 0.46)),
    "known_fewer": Shape("{known} has {k} fewer {item} than {new}", PLUS, (2, 15), MINUS, (0.70, 0.56)),
    "known_twice": Shape("{known} has twice as many {item} as {new}", DIVIDED, (2, 2), TIMES, (0.58, 0.58)),
    "known_half": Shape("{known} has half as many {item} as {new}", TIMES, (2, 2), DIVIDED, (0.42, 0.42)),
}

SHAPES: dict[str, Shape] = PLAIN | REVERSED | MISLEADING

GIVEN = "{new} has {k} {item}"
TOGETHER = "{a} and {b} together have as many {item} as {new}"
QUESTION = "How many {item} does {new} have?"

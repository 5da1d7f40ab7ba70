"""What an engine answered, as a score; a number that is no probability is refused."""

from collections.abc import Sequence
from math import exp

from reward_models.label_token import share
from reward_models.protocol import Answer


def probability(number: float) -> float:
    """Return it, in [0, 1]. Raises `ValueError` for anything else, NaN included."""
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{number} is not a probability")
    return number


def only_row(answer: Answer) -> tuple[float, ...]:
    """Return the one row of an answer. Raises `ValueError` where there are none or more."""
    if len(answer.rows) != 1:
        raise ValueError(f"{len(answer.rows)} rows instead of one")
    return answer.rows[0]


def of_class(row: Sequence[float], good: int, classes: int) -> float:
    """Return a class's probability. Raises `ValueError` where the row has other classes, or lacks this one."""
    if len(row) != classes or good >= classes:
        raise ValueError(f"{len(row)} classes, class {good} of {classes} was expected")
    return probability(row[good])


def good_share(answer: Answer) -> float:
    """P(good) / (P(good) + P(bad)) from a row of their two log-probabilities. Raises `ValueError` for any other row."""
    row = only_row(answer)
    if len(row) != 2:
        raise ValueError(f"{len(row)} labels instead of two")
    return probability(share(*row))


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow; raises `ValueError` for NaN."""
    return probability(1.0 / (1.0 + exp(-value)) if value >= 0 else exp(value) / (1.0 + exp(value)))

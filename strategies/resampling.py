"""Resampling of weighted particles: when it is due, and how often each of them is kept.

Weights are relative: only their ratios matter. None is negative, and at least one is positive.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor, fsum


def effective_sample_size(weights: Sequence[float]) -> float:
    """Return (Σw)² / Σw², from 1 where one weight is all there is to their number where all are equal.

    Kong, Liu and Wong 1994, "Sequential Imputations and Bayesian Missing Data Problems". The largest weight should be
    near 1, so that no square underflows.
    """
    return fsum(weights) ** 2 / fsum(weight * weight for weight in weights)


def systematic(weights: Sequence[float], uniform: float) -> list[int]:
    """Return how often each of N particles is kept, N in all: N·w/Σw of them, rounded down or up.

    Kitagawa 1996, "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models". The points
    (k + `uniform`) / N for k = 0 … N-1 fall into the weights laid end to end. With one `uniform` from [0, 1), drawn
    evenly, each count is right in the mean.
    """
    # Exact arithmetic: rounding would now and then lose a particle or keep one that weighs nothing.
    edges = list(accumulate(map(Fraction, weights), initial=Fraction(0)))
    below = [_points_below(len(weights) * edge / edges[-1], uniform) for edge in edges]
    return [upper - lower for lower, upper in pairwise(below)]


def _points_below(edge: Fraction, uniform: float) -> int:
    whole = floor(edge)
    return whole + (uniform < edge - whole)

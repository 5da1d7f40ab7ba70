"""How well scores tell right from wrong, and whether they are the probabilities that they look like."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from random import Random

from reward_models.intervals import interval_95

BINS = 15

Scored = tuple[float, bool]
"""A score in [0, 1], and whether what was scored is right."""


def scored_steps(scores: Sequence[float], label: int) -> list[Scored]:
    """Return the right steps and the first wrong one of a solution, the `label`-th from 0; -1: all are right.

    What comes after it is left out: whether a step that follows from a wrong one is wrong is a matter of taste.
    """
    judged = scores if label == -1 else scores[: label + 1]
    return [(score, place != label) for place, score in enumerate(judged)]


def area_under_curve(scored: Sequence[Scored]) -> float:
    """Return the probability in [0, 1] that something right scores above something wrong; ties count half.

    That is the area under the ROC curve: Hanley and McNeil 1982, Radiology 143. Raises `ValueError` where nothing is
    right, or nothing wrong.
    """
    area = _area(sorted(scored), [1] * len(scored))
    if area is None:
        raise ValueError("the area under the curve needs something right and something wrong")
    return area


def area_interval(solutions: Sequence[Sequence[Scored]]) -> tuple[float, float] | None:
    """Return the 95 % interval of the area under the curve over all steps; `None` where it cannot be had.

    Whole solutions are drawn with replacement, since the scores of one solution's steps depend on each other. Source:
    the percentile bootstrap, Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    steps = sorted((score, right, place) for place, solution in enumerate(solutions) for score, right in solution)
    scored = [(score, right) for score, right, _ in steps]
    places = range(len(solutions))

    def area_of_a_sample(rng: Random) -> float | None:
        drawn = Counter(rng.choices(places, k=len(places)))
        return _area(scored, [drawn[place] for _, _, place in steps])

    return interval_95(area_of_a_sample) if solutions else None


def _area(scored: Sequence[Scored], weights: Sequence[int]) -> float | None:
    """Return the area where each pair counts as often as its weight says; `scored` is in order."""
    ordered, right, wrong = 0.0, 0, 0
    rights = wrongs = 0  # of the score at hand
    before = None
    for (score, is_right), weight in zip(scored, weights, strict=True):
        if score != before:
            ordered, right, wrong = ordered + rights * (wrong + wrongs / 2), right + rights, wrong + wrongs
            rights, wrongs, before = 0, 0, score
        if is_right:
            rights += weight
        else:
            wrongs += weight
    ordered, right, wrong = ordered + rights * (wrong + wrongs / 2), right + rights, wrong + wrongs
    return ordered / (right * wrong) if right and wrong else None


@dataclass(frozen=True, slots=True)
class Bin:
    """What was scored within (`low`, `high`]: how many, their mean score, and how many of them are right."""

    low: float
    high: float
    count: int
    mean: float
    right: int

    @property
    def share(self) -> float:
        """The share of right ones, in [0, 1]."""
        return self.right / self.count


def reliability(scored: Sequence[Scored], bins: int = BINS) -> list[Bin]:
    """Return the bins of equal width that hold something, lowest first; a score of 0 belongs to the first.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 2.
    """
    held: dict[int, list[Scored]] = {}
    for score, right in scored:
        held.setdefault(max(1, ceil(score * bins)), []).append((score, right))
    return [
        Bin(
            low=(number - 1) / bins,
            high=number / bins,
            count=len(held[number]),
            mean=sum(score for score, _ in held[number]) / len(held[number]),
            right=sum(right for _, right in held[number]),
        )
        for number in sorted(held)
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error in [0, 1]: |share of right ones - mean score|, weighted by count.

    Of few scores it is too large on average, also when they are resampled: it has no interval for that reason. Source:
    Guo et al. 2017, equation 3. Raises `ValueError` where there are no bins.
    """
    total = sum(held.count for held in bins)
    if not total:
        raise ValueError("nothing was scored")
    return sum(held.count * abs(held.share - held.mean) for held in bins) / total

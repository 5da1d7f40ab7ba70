"""ProcessBench's protocol: does a judge find the first wrong step of a solution, and see where there is none?

Source: Zheng et al. 2024, "ProcessBench: Identifying Process Errors in Mathematical Reasoning", arXiv:2412.06559.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random

from reward_models.intervals import interval_95

NONE = -1
"""The label of a solution without a wrong step."""

Judged = tuple[Sequence[float], int]
"""The scores of a solution's steps, and its label."""


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A solution with the place of its first wrong step, counted from 0, or `NONE`.

    `final_answer_correct` is about the answer alone: a right one may come out of a wrong step.
    """

    id: str
    problem: str
    steps: tuple[str, ...]
    final_answer_correct: bool
    label: int


def parse(value: Mapping[str, object]) -> LabelledSolution:
    """Return what one object in ProcessBench's form says; other keys may be there.

    Raises `ValueError` that names the key which is missing, or is not what it should be.
    """
    for key in ("id", "problem", "steps", "final_answer_correct", "label"):
        if key not in value:
            raise ValueError(f'"{key}" is missing')
    name, problem, steps, correct, label = (
        value[key] for key in ("id", "problem", "steps", "final_answer_correct", "label")
    )
    if not isinstance(name, str):
        raise ValueError('"id" is not a text')
    if not isinstance(problem, str) or not problem.strip():
        raise ValueError('"problem" is not a text with something in it')
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise ValueError('"steps" is not a list of texts, at least one')
    if not isinstance(correct, bool):
        raise ValueError('"final_answer_correct" is neither true nor false')
    if not isinstance(label, int) or isinstance(label, bool) or not NONE <= label < len(steps):
        raise ValueError(f'"label" is not the place of one of {len(steps)} steps, counted from 0, nor -1')
    return LabelledSolution(name, problem, tuple(steps), correct, label)


def first_below(scores: Sequence[float], threshold: float) -> int:
    """Return the place of the first step that scores below `threshold`, or `NONE`."""
    return next((place for place, score in enumerate(scores) if score < threshold), NONE)


@dataclass(frozen=True, slots=True)
class Found:
    """Of each wrong solution, whether exactly its first wrong step was named; of each right one, whether none was."""

    wrong: tuple[bool, ...]
    right: tuple[bool, ...]

    @classmethod
    def of(cls, named: Sequence[int | None], labels: Sequence[int]) -> "Found":
        """Compare what a judge named, `None` where it gave no verdict, with the labels."""
        hits = [(label, name == label) for name, label in zip(named, labels, strict=True)]
        return cls(
            wrong=tuple(hit for label, hit in hits if label != NONE),
            right=tuple(hit for label, hit in hits if label == NONE),
        )

    @property
    def f1(self) -> float | None:
        """Harmonic mean in [0, 1] of the accuracies on wrong and on right solutions; `None` where either is missing."""
        if not self.wrong or not self.right:
            return None
        return _harmonic_mean(sum(self.wrong) / len(self.wrong), sum(self.right) / len(self.right))

    def f1_interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of `f1`.

        Both accuracies are drawn from what is known of them, Beta(hits + 1/2, misses + 1/2), which also says something
        where all or none were hit: Brown, Cai and DasGupta 2001, Statistical Science 16, section 3.
        """
        f1 = self.f1
        if f1 is None:
            return None

        def f1_of_a_draw(rng: Random) -> float:
            wrong, right = (
                rng.betavariate(sum(hits) + 0.5, len(hits) - sum(hits) + 0.5) for hits in (self.wrong, self.right)
            )
            return _harmonic_mean(wrong, right)

        low, high = interval_95(f1_of_a_draw) or (0.0, 1.0)
        return min(low, f1), max(high, f1)


def named_at(judged: Sequence[Judged], threshold: float) -> Found:
    """Return what is found where the first step below `threshold` is named."""
    return Found.of([first_below(scores, threshold) for scores, _ in judged], [label for _, label in judged])


def best_threshold(judged: Sequence[Judged]) -> float:
    """Return the threshold with the highest F1; of equally good ones the nearest to 0.5, then the lowest.

    Tried are the midpoints between any two adjacent scores. Outside of them all solutions or none are named wrong, and
    F1 is 0; where all scores are the same there is nothing else. Raises `ValueError` where no solution is wrong, or
    none right.
    """
    wrongs = sum(label != NONE for _, label in judged)
    rights = len(judged) - wrongs
    if not wrongs or not rights:
        raise ValueError("a threshold can only be chosen on wrong and right solutions")
    scores = sorted({score for scores, _ in judged for score in scores})
    tried = [(low + high) / 2 for low, high in pairwise(scores)] or scores
    hits = {False: [0] * (len(tried) + 1), True: [0] * (len(tried) + 1)}
    for steps, label in judged:
        # Step k is named just where score k < threshold <= every score before it: the solution adds to one stretch.
        before = min(steps if label == NONE else steps[:label], default=float("inf"))
        begin = 0 if label == NONE else bisect_right(tried, steps[label])
        end = bisect_right(tried, before)
        if begin < end:
            hits[label == NONE][begin] += 1
            hits[label == NONE][end] -= 1
    found = zip(tried, accumulate(hits[False]), accumulate(hits[True]), strict=False)
    return min((-_harmonic_mean(wrong / wrongs, right / rights), abs(t - 0.5), t) for t, wrong, right in found)[2]


def halves(solutions: Sequence[LabelledSolution]) -> tuple[list[int], list[int]]:
    """Return the places of the solutions to choose a threshold on, and of those to report it on.

    Wrong and right ones are dealt out alternately, each in the order of a hash of their ids: the same halves whatever
    the order of the file.
    """
    chosen: tuple[list[int], list[int]] = ([], [])
    for wrong in (True, False):
        places = [place for place, solution in enumerate(solutions) if (solution.label != NONE) is wrong]
        places.sort(key=lambda place: hashlib.sha256(solutions[place].id.encode()).digest())
        for turn, place in enumerate(places):
            chosen[turn % 2].append(place)
    return sorted(chosen[0]), sorted(chosen[1])


def _harmonic_mean(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first and second else 0.0

"""Critiques as votes: each names the first wrong step, or says that there is none.

Source: ProcessBench (Zheng et al. 2024, arXiv:2412.06559, section 4 and appendix E), which has critic models put the
index of the first wrong paragraph into a box and takes the majority of eight.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

ALL_RIGHT = -1
"""The index that stands for no wrong step."""

_THINKING, _THOUGHT = "<think>", "</think>"
_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_WRAPPED = re.compile(r"\s*\\(?:text|mathrm|mathbf|textbf)\s*\{(.*)\}\s*", re.DOTALL)
_INDEX = re.compile(r"[\s$<]*(?:(?:paragraph|step|index)[\s\\_:=]*)?([-\u2212]?[0-9]{1,6})[\s$>.]*", re.IGNORECASE)
_NOISE = 1e-9
"""Shares of the same votes that differ, differ by more: a vote is more than this."""


def first_error(text: str, steps: int) -> int | None:
    r"""Return the index in [-1, `steps`) that a critique puts into its last `\boxed{…}`, `None` if it names none.

    What stands before `</think>` is thinking, and not read.
    """
    if text.lstrip().startswith(_THINKING) and _THOUGHT not in text:
        return None
    boxed = _last_box(text.partition(_THOUGHT)[2] if _THOUGHT in text else text)
    if boxed is None:
        return None
    while wrapped := _WRAPPED.fullmatch(boxed):
        boxed = wrapped[1]
    index = _INDEX.fullmatch(boxed)
    if index is None:
        return None
    named = int(index[1].replace("\u2212", "-"))
    return named if ALL_RIGHT <= named < steps else None


def shares_right(votes: Sequence[int], steps: int) -> tuple[float, ...]:
    """Return for each of `steps` steps the share of `votes` (at least one) that find everything up to it right."""
    rights = [sum(vote == ALL_RIGHT or vote > step for vote in votes) for step in range(steps)]
    return tuple(right / len(votes) for right in rights)


def verdict(votes: Sequence[int]) -> int:
    """Return what most of `votes` (at least one) name; of several with as many votes the earliest step, -1 last.

    ProcessBench's own code takes the one of them that was written first, which says nothing of the solution.
    """
    counts = Counter(votes)
    return min(counts, key=lambda vote: (-counts[vote], vote == ALL_RIGHT, vote))


def first_wrong(scores: Sequence[float]) -> int:
    """Return the `verdict` of the votes from which `shares_right` made all of a solution's `scores`.

    The share that names step t is what is lost there, `scores[t - 1] - scores[t]`; nothing was lost before the first
    step. Raises `ValueError` for scores that rise or are not in [0, 1]: they were not made from one set of votes.
    """
    left = (1.0, *scores)
    named = [before - after for before, after in pairwise(left)]
    if min(named, default=0.0) < -_NOISE or not left[-1] >= 0.0:
        raise ValueError("these are not the scores of one set of critiques: they rise, or are out of range")
    most = max([*named, left[-1]])
    return next((step for step, share in enumerate(named) if share >= most - _NOISE), ALL_RIGHT)


def _last_box(text: str) -> str | None:
    """Return what is in the last box; `None` without one, or where it is not closed."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    begin = boxes[-1].end()
    depth = 1
    for brace in _BRACE.finditer(text, begin):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[begin : brace.start()]
    return None

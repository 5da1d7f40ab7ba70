"""From step scores to one score, and from scored candidates to an order: the arithmetic of best-of-N.

Step aggregates follow Snell et al. 2024 (last, min, prod) and "Can 1B LLM Surpass 405B LLM?" (PRM-Min, PRM-Last,
PRM-Avg); votes follow Wang et al. 2022 (self-consistency) and Li et al. 2022 (weighted by the verifier).
"""

from collections.abc import Sequence
from itertools import groupby
from math import fsum, prod
from typing import Literal

from strategies.protocol import Candidate, Vote

StepAggregate = Literal["last", "min", "prod", "mean"]
Selection = Literal["best", "weighted_vote"]
Ranked = tuple[list[Candidate], list[Vote]]
"""Candidates best first, and votes heaviest first."""


def aggregate(scores: Sequence[float], how: StepAggregate) -> float:
    """Reduce the step scores of one solution, each in [0, 1] and at least one, to one score in [0, 1]."""
    match how:
        case "last":
            return scores[-1]
        case "min":
            return min(scores)
        case "prod":
            return prod(scores)
        case "mean":
            return fsum(scores) / len(scores)


def upper_bound(scores: Sequence[float | None], how: StepAggregate, *, ended: bool) -> float:
    """Return the most that `aggregate` can still give: `None` is a score to come; before the end, steps are too.

    Never below the aggregate itself, in floating point too: products and correctly rounded sums of numbers in [0, 1],
    taken in the same order, do not fall when one of them rises to 1.
    """
    if not scores or (not ended and how in ("last", "mean")):
        return 1.0
    return aggregate([1.0 if score is None else score for score in scores], how)


def in_order(candidates: Sequence[Candidate]) -> Ranked:
    """Keep the order of launch; every answered candidate has one vote."""
    return list(candidates), _tally([(c, 1.0) for c in candidates])


def by_majority(candidates: Sequence[Candidate]) -> Ranked:
    """One vote per answered candidate: argmax over answers of their number. Ties go to the earliest node."""
    votes = _tally([(c, 1.0) for c in candidates])
    return _by_vote(candidates, votes), votes


def by_weighted_vote(candidates: Sequence[Candidate]) -> Ranked:
    """Each answered and scored candidate votes with its score: argmax over answers of the sum of scores."""
    votes = _tally([(c, c.score) for c in candidates if c.score is not None])
    return _by_vote(candidates, votes), votes


def by_score(candidates: Sequence[Candidate]) -> Ranked:
    """Highest score first; the votes are the weighted ones, for what they tell about confidence."""
    return _best_first(candidates), _tally([(c, c.score) for c in candidates if c.score is not None])


def _best_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Answered before unanswered, scored before unscored, then by score, ties by node."""
    return sorted(
        candidates,
        key=lambda c: (c.answer is None, c.score is None, -(c.score if c.score is not None else 0), c.node),
    )


def _by_vote(candidates: Sequence[Candidate], votes: Sequence[Vote]) -> list[Candidate]:
    """Order by the weight of a candidate's answer, then best first; answers without a vote last."""
    rank = {vote.answer.key: place for place, vote in enumerate(votes)}
    last = len(rank)
    return sorted(_best_first(candidates), key=lambda c: last if c.answer is None else rank.get(c.answer.key, last))


def _tally(ballots: Sequence[tuple[Candidate, float]]) -> list[Vote]:
    cast = sorted(
        ((c.answer, c.node, w * c.multiplicity, c.multiplicity) for c, w in ballots if c.answer is not None),
        key=lambda b: (b[0].key, b[1]),
    )
    total = fsum(w for _, _, w, _ in cast)
    counted: list[tuple[Vote, tuple[int, ...]]] = []
    for _, group in groupby(cast, key=lambda b: b[0].key):
        members = list(group)
        weight = fsum(w for _, _, w, _ in members)
        share = weight / total if total > 0 else 0.0
        counted.append((Vote(members[0][0], weight, share, sum(count for _, _, _, count in members)), members[0][1]))
    counted.sort(key=lambda pair: (-pair[0].weight, pair[1]))
    return [vote for vote, _ in counted]

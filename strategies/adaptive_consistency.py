"""A majority vote that stops when more votes would probably not change it.

Aggarwal et al. 2023, "Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and Coding with LLMs",
arXiv:2305.11860, with its Beta criterion.
"""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from strategies.early_stop import VoteRace

DECIDED_BETA = "decided_beta"
"""Reason of a search that this criterion ended."""


@lru_cache(maxsize=4096)
def doubt(leading: int, second: int) -> float:
    """Return the posterior probability that the leading answer is not the more frequent of the two leading ones.

    With counts a and b and a flat prior that is I_{1/2}(a + 1, b + 1), the regularised incomplete beta function; for
    integers a binomial tail, sum_{i <= b} C(a + b + 1, i) / 2^(a + b + 1). 1/2 where the counts are equal.
    """
    tosses = leading + second + 1
    ways = term = 1
    for i in range(second):
        term = term * (tosses - i) // (i + 1)
        ways += term
    return ways / (1 << tosses)


class AdaptiveConsistency:
    """Stops at the first prefix, in launch order, at which `doubt` is below `error`; only that prefix votes.

    Only the longest prefix of candidates that are all over is looked at: the order of finishing favours the short ones.
    `error` is the chance of one look; there is a look after every vote, and over all of them the chance that the full
    vote would have gone elsewhere is larger. Where a prefix decides the full vote exactly, it stops as well.
    """

    def __init__(self, samples: int, error: float) -> None:
        self.reason = DECIDED_BETA
        self.counted = samples
        self._samples = samples
        self._error = error
        self._exact = VoteRace(samples)
        self._over: dict[int, str | None] = {}
        self._prefix = 0
        self._counts: Counter[str] = Counter()
        self._stopped = False

    def pending(self, place: int, key: str | None, bound: float) -> None:
        """Nothing is known of a vote before it is cast."""

    def final(self, place: int, key: str | None, score: float | None) -> None:
        """Look at each prefix that is complete now; a candidate without an answer is in it, but has no vote."""
        self._over[place] = None if score is None else key
        while not self._stopped and self._prefix in self._over:
            vote = self._over[self._prefix]
            self._exact.final(self._prefix, vote, score=1.0)
            self._prefix += 1
            if vote is not None:
                self._counts[vote] += 1
            self._look()

    def cut(self) -> Iterable[int]:
        """Return all places once the criterion is met, none before."""
        return range(self._samples) if self._stopped else ()

    def wanted(self, launched: int, streams: int) -> int:
        """Return the fewest that could meet the criterion if they and all that is pending agreed with the leader."""
        known = self._counts + Counter(
            vote for place, vote in self._over.items() if place >= self._prefix and vote is not None
        )
        leader = known.most_common(1)[0][0] if known else ""
        counts = Counter(self._counts)
        for place in range(self._prefix, self._samples):
            vote = self._over.get(place, leader)
            if vote is not None:
                counts[vote] += 1
            if self._met(counts):
                agreeing = max(0, place + 1 - launched)
                break
        else:
            agreeing = self._samples - launched
        return min(agreeing, self._exact.wanted(launched, streams))

    def _look(self) -> None:
        if self._met(self._counts):
            self._stopped = True
        elif self._exact.decided:
            self._stopped, self.reason = True, self._exact.reason
        if self._stopped:
            self.counted = self._prefix

    def _met(self, counts: Counter[str]) -> bool:
        second, leading = sorted((0, 0, *counts.values()))[-2:]
        return doubt(leading, second) < self._error

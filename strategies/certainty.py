"""How sure a policy was of what it wrote, read from its own log-probabilities: scores without a reward model.

Self-certainty: Kang et al. 2025, "Scalable Best-of-N Selection for Large Language Models via Self-Certainty",
arXiv:2502.18581. With the vocabulary cut to the k most probable tokens it orders candidates as the average trace
confidence of DeepConf does (Fu et al. 2025, arXiv:2508.15260), from which it differs by the constant log k.
"""

from collections.abc import Sequence
from math import isfinite, log


class Certainty:
    """Takes in one stream's log-probabilities, token by token; knows the value for what it has taken in.

    With `top` = 0 that is the mean log-probability, mean_i log p(x_i) ≤ 0, of the n sampled tokens x_i. With `top` =
    k ≥ 1 it is self_certainty@k = -1/(n k) sum_i sum_j log(k p_ij) ≥ 0 over the k most probable tokens j at each
    position i: 0 where they are equally likely, unbounded above. At a position where the engine gives fewer than k, as
    it does for a vocabulary smaller than k, their own number stands for k.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._sum = 0.0
        self._tokens = 0

    def add(self, sampled: float, top: Sequence[float]) -> None:
        """Take in one position: natural log-probabilities of the sampled token, and of the most probable ones.

        `top` may be in any order and longer than k, since engines add the sampled token where it is not among the k.
        Raises `ValueError` where the value cannot be had: a log-probability in use is infinite or not a number (a
        sampler had masked the token), or none came.
        """
        if self._top == 0:
            value = sampled
        else:
            best = top if len(top) <= self._top else sorted(top, reverse=True)[: self._top]
            if not best:
                raise ValueError("the engine gave no most probable tokens at a position")
            value = -sum(best) / len(best) - log(len(best))
        if not isfinite(value):
            raise ValueError("a log-probability is not finite: the policy's certainty cannot be had")
        self._sum += value
        self._tokens += 1

    @property
    def value(self) -> float | None:
        """The mean over the tokens so far; `None` before the first."""
        if self._tokens == 0:
            return None
        mean = self._sum / self._tokens
        # Self-certainty cannot be negative (AM-GM); rounding can make it so where all are equally likely.
        return mean if self._top == 0 else max(0.0, mean)

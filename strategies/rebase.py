"""REBASE, reward balanced search: as many continuations as there are samples, split over the frontier by reward.

Wu et al. 2024, "Inference Scaling Laws: An Empirical Analysis of Compute-Optimal Inference for Problem-Solving with
Language Models", arXiv:2408.00724, section 3.1.2.
"""

from collections.abc import Sequence
from math import exp, floor, fsum
from typing import ClassVar, Literal

from pydantic import Field

from strategies.protocol import Strategy
from strategies.spec import ScoreSpec, TreeSpec
from strategies.tree import Node, TreeSearch, merge


class Rebase(TreeSpec):
    """Level by level, B_i samples go on from the nodes j of depth i, W_j ≈ B_i·exp(R_j/T_b) / Σ_k exp(R_k/T_b) from j.

    That is equation 1 of the paper. R_j is the aggregate of all step scores up to the node. B_i = B_{i-1} - C_i: the
    C_i solutions that are whole at depth i are done, and none of them is grown from. Of N samples, N solutions come.

    Where the paper rounds each W_j, they are rounded by largest remainder, so that they add up to B_i. Samples that
    wrote the same are one node, with their number as a factor before its exp. Samples that the budget refused, or whose
    score it did, are gone: what cannot be paid is not asked for again in their place.
    """

    paper: ClassVar[str | None] = "Wu et al. 2024, arXiv:2408.00724"
    name: Literal["rebase"] = "rebase"
    samples: int = Field(16, ge=1, le=1024, description="Number of solutions to sample, N.")
    balance_temperature: float = Field(
        0.1,
        gt=0,
        le=100,
        description="T_b of the softmax: near 0 everything goes to the best node, at 100 all nodes are grown alike.",
    )

    @property
    def candidates(self) -> int:
        """N."""
        return self.samples

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine; there is no randomness in it."""
        return RebaseSearch(score, samples=self.samples, balance_temperature=self.balance_temperature)


class RebaseSearch(TreeSearch):
    """All nodes of one depth at a time: the softmax needs the last of their scores."""

    def __init__(self, score: ScoreSpec, *, samples: int, balance_temperature: float) -> None:
        super().__init__(score)
        self._samples = samples
        self._temperature = balance_temperature
        self._level: list[Node] = []

    def _start(self) -> None:
        self._level = [self._sample(self.root) for _ in range(self._samples)]

    def _idle(self) -> None:
        alive = merge(node for node in self._level if not node.lost and not node.unscored)
        valued = [(node, node.value(self._how)) for node in alive if node.ended is None]
        frontier = [(node, value) for node, value in valued if value is not None]
        samples = [node.multiplicity for node, _ in frontier]
        each = widths([value for _, value in frontier], samples, self._temperature)
        self._level = [
            self._sample(node) for (node, _), width in zip(frontier, each, strict=True) for _ in range(width)
        ]


def widths(rewards: Sequence[float], samples: Sequence[int], temperature: float) -> list[int]:
    """Split as many continuations as there are `samples` over the nodes: W_j of equation 1, by largest remainder.

    Node j, with a reward in [0, 1], stands for `samples[j]` samples that wrote the same. A higher reward never gets
    less than a lower one with as many samples. Ties go to the higher reward, then to the earlier node.
    """
    budget, best = sum(samples), max(rewards, default=0.0)
    # Relative to the best node no exponential overflows, and the sum is at least 1.
    weights = [count * exp((reward - best) / temperature) for reward, count in zip(rewards, samples, strict=True)]
    total = fsum(weights)
    quotas = [budget * weight / total for weight in weights]
    split = [floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda j: (split[j] - quotas[j], -rewards[j], j))
    for j in by_remainder[: budget - sum(split)]:
        split[j] += 1
    return split

"""What a search can be expected to cost, before it has begun: arithmetic on assumed lengths."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Lengths:
    """What is assumed of a question, in tokens: its prompt, one whole candidate, one step; each at least 1."""

    prompt: int
    candidate: int
    step: int

    @property
    def steps(self) -> int:
        """How many steps a candidate has."""
        return ceil(self.candidate / self.step)


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens that the policy generates, and tokens that are submitted for scoring."""

    policy_tokens: int
    reward_tokens: int


def cost_of_candidates(width: int, lengths: Lengths, *, scored: bool) -> Cost:
    """Return the cost of `width` candidates, or of a tree that samples `width` steps at each depth.

    Each step is scored once, with the question and all steps before it as context.
    """
    depths = range(1, lengths.steps + 1)
    submitted = sum(lengths.prompt + depth * lengths.step for depth in depths) if scored else 0
    return Cost(width * lengths.candidate, width * submitted)

"""Majority vote (self-consistency): sample N solutions, return the answer that most of them give.

Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning in Language Models", arXiv:2203.11171.
"""

from typing import Literal

from pydantic import Field

from strategies.flat import Flat
from strategies.protocol import Strategy
from strategies.selection import by_majority
from strategies.spec import ScoreSpec, Spec


class MajorityVote(Spec):
    """argmax over answers a of the number of candidates whose answer is a; no reward model is asked."""

    name: Literal["majority_vote"] = "majority_vote"
    samples: int = Field(16, ge=1, le=1024, description="Number of candidates, N.")

    @property
    def needs_scores(self) -> bool:
        """Votes count equally."""
        return False

    @property
    def candidates(self) -> int:
        """N."""
        return self.samples

    def build(self, score: ScoreSpec) -> Strategy:
        """Return the state machine."""
        return Flat(self.samples, by_majority)

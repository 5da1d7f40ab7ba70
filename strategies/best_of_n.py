"""Best-of-N with a process reward model: sample N solutions, score their steps, select by score.

`best` takes the highest score (Cobbe et al. 2021, arXiv:2110.14168); `weighted_vote` sums the scores per answer
(Li et al. 2022, arXiv:2206.02336; "best-of-N weighted" in Snell et al. 2024, arXiv:2408.03314).
"""

from functools import partial
from typing import Literal

from pydantic import Field

from strategies.flat import Flat
from strategies.protocol import Strategy
from strategies.selection import aggregate, by_score, by_weighted_vote
from strategies.spec import ScoreSpec, Spec


class BestOfN(Spec):
    """argmax over candidates of their score, or over answers of the sum of their candidates' scores."""

    name: Literal["best_of_n"] = "best_of_n"
    samples: int = Field(16, ge=1, le=1024, description="Number of candidates, N.")

    @property
    def needs_scores(self) -> bool:
        """Every finished step is scored."""
        return True

    @property
    def candidates(self) -> int:
        """N."""
        return self.samples

    def build(self, score: ScoreSpec) -> Strategy:
        """Return the state machine."""
        rank = by_score if score.select == "best" else by_weighted_vote
        return Flat(self.samples, rank, aggregate=partial(aggregate, how=score.steps))

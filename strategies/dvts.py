"""Diverse verifier tree search: several beam searches of one beam each, which do not compete with each other.

Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models", Hugging Face.
`subtrees` is their N / M, `expansions` their M.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from strategies.cost import Cost, Lengths
from strategies.level import MOST_SAMPLES, LevelSearch, cost_of_levels
from strategies.protocol import Strategy
from strategies.spec import ScoreSpec, TreeSpec


class Dvts(TreeSpec):
    """Each subtree has its own first steps, keeps the best step of each level, and ends with one solution.

    No subtree waits for another one. The vote is among their solutions; samples of a subtree that wrote the same
    solution vote each.
    """

    paper: ClassVar[str | None] = "Beeching et al. 2024, Scaling test-time compute with open models (Hugging Face)"
    name: Literal["dvts"] = "dvts"
    subtrees: int = Field(4, ge=1, le=256, description="Independent searches, S.")
    expansions: int = Field(
        4,
        ge=1,
        le=256,
        description=f"Steps sampled at each level of a subtree, E; S times E is at most {MOST_SAMPLES}.",
    )
    lookahead: int = Field(
        0, ge=0, le=64, description="A step is valued by where this many greedy steps lead from it, k."
    )

    @model_validator(mode="after")
    def _is_not_too_wide(self) -> Self:
        if self.candidates > MOST_SAMPLES:
            raise ValueError(f"subtrees times expansions is {self.candidates}, and can be {MOST_SAMPLES} at most")
        return self

    @property
    def candidates(self) -> int:
        """S times E: the steps sampled at each depth."""
        return self.subtrees * self.expansions

    def cost(self, lengths: Lengths) -> Cost:
        """Return what all levels cost, with every lookahead."""
        return cost_of_levels(self.candidates, self.lookahead, lengths)

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine; it draws nothing, so that `seed` is without meaning."""
        return LevelSearch(score, subtrees=self.subtrees, beams=1, expansions=self.expansions, lookahead=self.lookahead)

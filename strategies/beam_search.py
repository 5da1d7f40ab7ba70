"""Beam search over steps, guided by a process reward model.

Snell et al. 2024, "Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model Parameters",
arXiv:2408.03314, section 5.2 (beam search, lookahead search); Liu et al. 2025, "Can 1B LLM Surpass 405B LLM?",
arXiv:2502.06703. `beams` is their N / M, `expansions` their M.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from strategies.cost import Cost, Lengths
from strategies.halving import Halving
from strategies.level import MOST_SAMPLES, LevelSearch, cost_of_levels
from strategies.protocol import Strategy
from strategies.spec import ScoreSpec, TreeSpec


class BeamSearch(TreeSpec):
    """At each level, the samples with the best values are kept, and from each of them new steps are sampled.

    Samples that wrote the same are one node, with as many places. Finished solutions compete for places, and are never
    extended. The vote is among those that were ever kept; a node votes with all its samples.
    """

    paper: ClassVar[str | None] = "Snell et al. 2024, arXiv:2408.03314"
    name: Literal["beam_search"] = "beam_search"
    beams: int = Field(4, ge=1, le=256, description="Samples kept at each level, M.")
    expansions: int = Field(
        4, ge=1, le=256, description=f"Steps sampled from each that is kept, E; M times E is at most {MOST_SAMPLES}."
    )
    lookahead: int = Field(
        0, ge=0, le=64, description="A step is valued by where this many greedy steps lead from it, k."
    )
    mode: Literal["strict", "async"] = Field(
        "strict",
        description="strict: a level is complete, or certain, before the next one begins; async: a step is extended as "
        "soon as it is among the best 1/E of those seen at its depth.",
    )

    @model_validator(mode="after")
    def _is_not_too_wide(self) -> Self:
        if self.candidates > MOST_SAMPLES:
            raise ValueError(f"beams times expansions is {self.candidates}, and can be {MOST_SAMPLES} at most")
        return self

    @property
    def candidates(self) -> int:
        """M times E: the steps sampled at each level."""
        return self.beams * self.expansions

    def cost(self, lengths: Lengths) -> Cost:
        """Return what all levels cost, with every lookahead."""
        return cost_of_levels(self.candidates, self.lookahead, lengths)

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine; it draws nothing, so that `seed` is without meaning."""
        if self.mode == "async":
            return Halving(score, beams=self.beams, expansions=self.expansions, lookahead=self.lookahead)
        return LevelSearch(score, subtrees=1, beams=self.beams, expansions=self.expansions, lookahead=self.lookahead)

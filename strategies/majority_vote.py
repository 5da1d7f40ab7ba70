"""Majority vote (self-consistency): sample N solutions, return the answer that most of them give.

Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning in Language Models", arXiv:2203.11171.
"""

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from strategies.adaptive_consistency import AdaptiveConsistency
from strategies.early_stop import Rule, VoteRace, available
from strategies.flat import Flat
from strategies.protocol import Strategy
from strategies.selection import by_majority
from strategies.spec import ONE_RETURNED, ScoreSpec, Spec, economy_saves

_DEFAULT_ERROR = 0.05


class MajorityVote(Spec):
    """argmax over answers a of the number of candidates whose answer is a; no reward model is asked."""

    paper: ClassVar[str | None] = "Wang et al. 2022, arXiv:2203.11171"
    name: Literal["majority_vote"] = "majority_vote"
    samples: int = Field(16, ge=1, le=1024, description="Number of candidates, N.")
    early_stop: Literal["exact", "beta", "off"] | None = Field(
        None,
        description="exact: stop when the winner cannot change any more; beta: when it probably would not (Beta "
        "criterion of adaptive consistency, with `error`); off: never. Default: exact, and off where n > 1.",
    )
    error: float | None = Field(
        None,
        gt=0,
        lt=0.5,
        description=f"beta only: the chance, at one look, that the leader is not the more frequent of the two leading "
        f"answers. There are many looks: over all of them the chance is larger. Default: {_DEFAULT_ERROR}.",
    )
    economy: bool = Field(
        False, description="Start only as many candidates as could decide the vote if they agreed: slower, cheaper."
    )

    @field_validator("error")
    @classmethod
    def _has_criterion(cls, error: float | None, info: ValidationInfo) -> float | None:
        if error is not None and info.data.get("early_stop") != "beta":
            raise ValueError('it belongs to early_stop "beta"')
        return error

    _saves = field_validator("economy")(economy_saves)

    @property
    def needs_scores(self) -> bool:
        """Votes count equally."""
        return False

    @property
    def candidates(self) -> int:
        """N."""
        return self.samples

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine."""
        hindrance = None if returned == 1 else ONE_RETURNED
        rule: Rule | None = None
        if available(self.early_stop, economy=self.economy, hindrance=hindrance):
            rule = self._rule()
        return Flat(self.samples, by_majority, rule=rule, economy=self.economy)

    def _rule(self) -> Rule:
        if self.early_stop == "beta":
            return AdaptiveConsistency(self.samples, _DEFAULT_ERROR if self.error is None else self.error)
        return VoteRace(self.samples)

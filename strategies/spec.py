"""What every strategy's parameters have in common."""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict

from strategies.protocol import Strategy
from strategies.selection import Selection, StepAggregate


class ScoreSpec(BaseModel):
    """How step scores become one score (`steps`), and how candidates are selected by it (`select`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: StepAggregate = "min"
    select: Selection = "weighted_vote"


class Spec(BaseModel, ABC):
    """A strategy's name and parameters: immutable, bounded, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    @abstractmethod
    def needs_scores(self) -> bool:
        """Whether the search needs a reward model."""

    @property
    @abstractmethod
    def candidates(self) -> int:
        """How many candidates the search starts at most."""

    @abstractmethod
    def build(self, score: ScoreSpec) -> Strategy:
        """Return the state machine; `score` is without meaning where `needs_scores` is false."""

"""What the gateway hands to a worker that is to score solutions, and what comes back: plain data."""

from typing import Any

from pydantic import Field

from reward_models.protocol import Reads
from service.search.request import Memory, RewardUsage, Wire


class ScoreBudget(Wire):
    """Limits of one request for scores; `None` is no limit. At a limit there are no scores at all."""

    reward_tokens: int | None = Field(
        None,
        ge=1,
        description="Most tokens that may be submitted for scoring. Checked before anything is submitted, as if no "
        "step had been scored before.",
    )
    deadline_ms: int | None = Field(None, ge=1, description="After this the request fails with status 504.")


class ScoreRequest(Wire):
    """One question with solutions of it. Exactly one of `solutions` and `steps` is given, and holds something."""

    model: str
    question: str
    solutions: tuple[str, ...] | None = Field(None, description="Whole texts, to be cut into steps.")
    steps: tuple[tuple[str, ...], ...] | None = Field(
        None, description="The steps of each solution, taken as they are."
    )
    budget: ScoreBudget = ScoreBudget()
    memory: Memory = Field("use", description="What is done with what earlier requests have left.")

    @property
    def given(self) -> str:
        """The name of the field that holds the solutions."""
        return "steps" if self.solutions is None else "solutions"


class SolutionScores(Wire):
    """One solution as it was judged: one score in [0, 1] for each step; it is one step where `reads` is "answer"."""

    steps: tuple[str, ...]
    scores: tuple[float, ...]


class ScoreResult(Wire):
    """The scores of all solutions, in the order of the request, and what they cost."""

    solutions: tuple[SolutionScores, ...]
    reads: Reads
    usage: RewardUsage
    seconds: float


class ScoreReply(Wire):
    """Exactly one of the two is set; `error` is `MullError.to_wire()`."""

    result: ScoreResult | None = None
    error: dict[str, Any] | None = None

"""What a client of POST /v1/score gets: a list like vLLM's own of scores, with one object of ours."""

import time
from typing import Literal

from pydantic import Field

from reward_models.protocol import Reads
from service.gateway.price import scoring_cost
from service.gateway.reply import PromptTokensDetails, Reply
from service.search.request import RewardUsage
from service.search.score_request import ScoreRequest, ScoreResult, SolutionScores
from service.settings import Settings


def _absent(value: object) -> bool:
    return value is None


class SolutionScore(Reply):
    """One solution. A process reward model gives `steps` and as many `scores`, an outcome reward model one `score`."""

    index: int
    object: Literal["score"] = "score"
    steps: tuple[str, ...] | None = Field(exclude_if=_absent, description="The steps as they were judged.")
    scores: tuple[float, ...] | None = Field(exclude_if=_absent, description="In [0, 1], one per step.")
    score: float | None = Field(exclude_if=_absent, description="In [0, 1], of the whole solution.")


class ScoreUsage(Reply):
    """Reward tokens in OpenAI's terms: what the reward model read, and what it wrote to be read."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = Field(exclude_if=_absent)


class MullScoreUsage(Reply):
    """All tokens of the request."""

    reward: RewardUsage


class MullScores(Reply):
    """How the scores were found."""

    reads: Reads = Field(
        description="What the reward model reads at once: `step`, `solution` (all its steps), or `answer` (one score)."
    )
    usage: MullScoreUsage
    cost: float | None = Field(
        exclude_if=_absent, description="In the currency of the configured prices; absent without them."
    )
    trace_id: str = Field(description="The request's id, also in the header x-request-id and in the logs.")
    seconds: float = Field(description="From the request's arrival at the gateway to its answer.")


class ScoreList(Reply):
    """The scores of all solutions, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[SolutionScore]
    usage: ScoreUsage
    mull: MullScores


def score_list(
    result: ScoreResult, request: ScoreRequest, settings: Settings, *, trace_id: str, seconds: float
) -> ScoreList:
    """Return the scores as the answer to `request`."""
    usage = result.usage
    details = None if usage.cached is None else PromptTokensDetails(cached_tokens=usage.cached)
    return ScoreList(
        id=f"score-{trace_id}",
        created=int(time.time()),
        model=request.model,
        data=[_shown(index, solution, result.reads) for index, solution in enumerate(result.solutions)],
        usage=ScoreUsage(
            prompt_tokens=usage.submitted,
            completion_tokens=usage.generated,
            total_tokens=usage.submitted + usage.generated,
            prompt_tokens_details=details,
        ),
        mull=MullScores(
            reads=result.reads,
            usage=MullScoreUsage(reward=usage),
            cost=scoring_cost(usage, request.model, settings),
            trace_id=trace_id,
            seconds=round(seconds, 3),
        ),
    )


def _shown(index: int, solution: SolutionScores, reads: Reads) -> SolutionScore:
    if reads == "answer":
        return SolutionScore(index=index, steps=None, scores=None, score=solution.scores[0])
    return SolutionScore(index=index, steps=solution.steps, scores=solution.scores, score=None)

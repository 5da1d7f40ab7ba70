"""What the gateway hands to a worker, and what comes back: plain data that crosses the process boundary."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec


class Wire(BaseModel):
    """Immutable plain data; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Wire):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class Budget(Wire):
    """Limits of one search; `None` is no limit. The deadline counts from the request's arrival at the gateway."""

    policy_tokens: int | None = Field(None, ge=1, description="Most tokens the policy may generate, kept or not.")
    reward_tokens: int | None = Field(None, ge=1, description="Most tokens that may be submitted for scoring.")
    deadline_ms: int | None = Field(None, ge=1, description="After this the best answer so far is returned.")
    parallel: int | None = Field(None, ge=1, description="Most streams of one search in flight.")


class SamplingSpec(Wire):
    """Sampling as asked for by the client; `None` leaves the policy's own setting."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()


class SearchRequest(Wire):
    """One question with everything that decides how it is searched. Two equal requests have equal answers to cache."""

    model: str
    messages: tuple[Message, ...] = Field((), description="The chat; empty when `prompt` is given.")
    prompt: str | None = Field(None, description="Raw text to continue, for /v1/completions.")
    max_completion_tokens: int | None = Field(None, ge=1, description="Caps each candidate; default: the policy's.")
    sampling: SamplingSpec = SamplingSpec()
    seed: int = 0
    n: int = 1
    strategy: StrategySpec
    score: ScoreSpec = ScoreSpec()
    budget: Budget = Budget()

    @property
    def question(self) -> str:
        """What the reward model is told was asked: the last user message, or the raw prompt."""
        if self.prompt is not None:
            return self.prompt
        return next(m.content for m in reversed(self.messages) if m.role == "user")


class PolicyUsage(Wire):
    """Policy tokens. `kept` + `discarded` = all generated; `kept` belong to returned choices.

    `prompt` counts every request's prompt; `cached` those of them found in the engine's prefix cache, `None` if it
    does not tell. `estimated` is true where streams were cut off and the engine's own count is not known.
    """

    kept: int
    discarded: int
    prompt: int
    cached: int | None
    estimated: bool


class RewardUsage(Wire):
    """Reward tokens: `submitted` for scoring, of them `cached` (`None`: not told), and `generated` to read labels."""

    submitted: int
    cached: int | None
    generated: int


class SearchUsage(Wire):
    """What one search spent. `prompt` is the length of the question's prompt, counted once."""

    prompt: int
    policy: PolicyUsage
    reward: RewardUsage


class CandidateResult(Wire):
    """One candidate as shown to the client; `tokens` is what its text cost."""

    text: str
    answer: str | None
    key: str | None
    scores: tuple[float, ...]
    score: float | None
    finished: bool
    finish_reason: Literal["stop", "length"]
    tokens: int


class VoteResult(Wire):
    """One answer with its share of all votes."""

    answer: str
    key: str
    weight: float
    share: float
    candidates: int


class SearchResult(Wire):
    """The outcome of a search. `choices` are the `n` best distinct answers' candidates, best first (at least one)."""

    choices: tuple[CandidateResult, ...]
    candidates: tuple[CandidateResult, ...]
    votes: tuple[VoteResult, ...]
    confidence: float | None = Field(description="The chosen answer's share of all votes.")
    stopped_by: str
    usage: SearchUsage
    warnings: tuple[str, ...] = ()
    seconds: float


class WorkerReply(Wire):
    """Exactly one of the two is set; `error` is `MullError.to_wire()`."""

    result: SearchResult | None = None
    error: dict[str, Any] | None = None

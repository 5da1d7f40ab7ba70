"""What the gateway hands to a worker, and what comes back: plain data that crosses the process boundary."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, TypeAdapter

from service.search.answer_spec import AnswerSpec
from service.search.constraint import Constraint
from service.search.sampling import SamplingSpec as SamplingSpec
from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec, Spec


class Wire(BaseModel):
    """Immutable plain data; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Wire):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


Memory = Literal["use", "renew", "none"]
"""What earlier requests have left: it is used and added to; or only added to, afresh; or neither."""


class Budget(Wire):
    """Limits of one search; `None` is no limit. The deadline counts from the request's arrival at the gateway."""

    policy_tokens: int | None = Field(None, ge=1, description="Most tokens the policy may generate, kept or not.")
    reward_tokens: int | None = Field(None, ge=1, description="Most tokens submitted for scoring or written by judges.")
    deadline_ms: int | None = Field(None, ge=1, description="After this the best answer so far is returned.")
    parallel: int | None = Field(None, ge=1, description="Most streams of one search in flight.")


_registered: TypeAdapter[StrategySpec] = TypeAdapter(StrategySpec)


def _spec(strategy: Any) -> Spec:
    """Take a strategy as it is, one of the user's own included; plain data is looked up in the registry."""
    return strategy if isinstance(strategy, Spec) else _registered.validate_python(strategy)


class SearchRequest(Wire):
    """One question with everything that decides how it is searched. Two equal requests have equal answers to cache."""

    model: str
    messages: tuple[Message, ...] = Field((), description="The chat; empty when `prompt` is given.")
    prompt: str | None = Field(None, description="Raw text to continue, for /v1/completions.")
    max_completion_tokens: int | None = Field(None, ge=1, description="Caps each candidate; default: the policy's.")
    sampling: SamplingSpec = SamplingSpec()
    chat_template_kwargs: dict[str, Any] = Field({}, description="Variables for the policy's chat template.")
    logprobs: int | None = Field(
        None, ge=0, le=20, description="Log-probabilities of the choices' tokens, and of so many most probable ones."
    )
    seed: int = 0
    n: int = 1
    strategy: Annotated[SerializeAsAny[Spec], BeforeValidator(_spec)]
    score: ScoreSpec = ScoreSpec()
    answer: AnswerSpec = AnswerSpec()
    constraint: Constraint | None = Field(None, description="The form that the engine keeps every candidate to.")
    budget: Budget = Budget()
    trace: bool = Field(False, description="Whether the result brings the trace of the search.")
    memory: Memory = Field("use", description="What is done with what earlier searches have left; no part of the key.")

    @property
    def question(self) -> str:
        """What the reward model is told was asked: the last user message, or the raw prompt."""
        if self.prompt is not None:
            return self.prompt
        return next(m.content for m in reversed(self.messages) if m.role == "user")


class PolicyUsage(Wire):
    """Policy tokens. `kept` + `discarded` = all generated; `kept` belong to returned choices.

    `prompt` counts every request's prompt; `cached` those of them found in the engine's prefix cache, `None` if it
    does not tell. `estimated` is true where the engine could not tell what a stream that was cut off has cost: then
    the tokens that arrived are counted.
    """

    kept: int
    discarded: int
    prompt: int
    cached: int | None
    estimated: bool


class RewardUsage(Wire):
    """Reward tokens: `submitted` for scoring, of them `cached` (`None`: not told), and `generated`: labels, critiques.

    `remembered` counts scores, not tokens: those that another search had asked for, and that cost this one nothing.
    `estimated` is true where the engine could not tell what a call that was cut off has cost: all of it is counted.
    """

    submitted: int
    cached: int | None
    generated: int
    remembered: int = 0
    estimated: bool


class SearchUsage(Wire):
    """What one search spent. `prompt` is the length of the question's prompt, counted once."""

    prompt: int
    policy: PolicyUsage
    reward: RewardUsage


class TokenLogprob(Wire):
    """One token of a choice: where its text begins, its log-probability, and those of the most probable tokens.

    Texts and natural log-probabilities are the engine's; `top` is sorted, and need not hold the token itself. `offset`
    is in characters of the choice's text.
    """

    token: str
    offset: int
    logprob: float
    top: tuple[tuple[str, float], ...]


class CandidateResult(Wire):
    """One candidate as shown to the client; `tokens` is what its text cost, `multiplicity` how many samples gave it.

    `finish_reason` is `None` for what was stopped before its own end: by the deadline, or because it had lost.
    `logprobs` are those of the text's tokens, of a choice where they were asked for.
    """

    text: str
    answer: str | None
    key: str | None
    scores: tuple[float, ...]
    score: float | None
    finished: bool
    finish_reason: Literal["stop", "length"] | None
    tokens: int
    multiplicity: int
    logprobs: tuple[TokenLogprob, ...] | None = Field(None, exclude_if=lambda value: value is None)


class VoteResult(Wire):
    """One answer with its share of all votes that were counted when the search stopped."""

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
    confidence: float | None = Field(description="The chosen answer's share of all votes that were counted.")
    stopped_by: str
    usage: SearchUsage
    warnings: tuple[str, ...] = ()
    seconds: float
    continued: SearchUsage | None = Field(None, description="What an earlier run had paid of `usage`.")
    trace: tuple[dict[str, Any], ...] | None = Field(None, description="The records of the search, in order.")


class WorkerReply(Wire):
    """Exactly one of the two is set; `error` is `MullError.to_wire()`."""

    result: SearchResult | None = None
    error: dict[str, Any] | None = None

"""What a client gets: OpenAI's response bodies, with one object of ours."""

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.gateway.found import Found, Source
from service.gateway.logprobs import ChatLogprobs, TextLogprobs, chat_logprobs, text_logprobs
from service.gateway.plan import Plan
from service.gateway.price import cost
from service.search.request import (
    CandidateResult,
    PolicyUsage,
    RewardUsage,
    SearchResult,
    SearchUsage,
    VoteResult,
)
from service.settings import Settings


def _absent(value: object) -> bool:
    return value is None


class Reply(BaseModel):
    """Plain immutable data."""

    model_config = ConfigDict(frozen=True)


class CompletionTokensDetails(Reply):
    """`reasoning_tokens`: generated, and not part of a returned choice."""

    reasoning_tokens: int


class PromptTokensDetails(Reply):
    """`cached_tokens`: of the prompt, found in the engine's prefix cache."""

    cached_tokens: int


class Usage(Reply):
    """Policy tokens in OpenAI's terms: the prompt once, and all that was generated, returned or not.

    Of a cached answer: what it cost when it was searched. `prompt_tokens_details` is there only where the engine
    tells and the prompt was sent once; what several candidates found cached is in `mull.usage.policy.cached`.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionTokensDetails
    prompt_tokens_details: PromptTokensDetails | None = Field(None, exclude_if=_absent)


class MullUsage(Reply):
    """All tokens of the search, policy and reward model apart."""

    policy: PolicyUsage
    reward: RewardUsage


class Spent(Reply):
    """What this request has spent: nothing on an answer that others have found, and not what they had left."""

    policy_tokens: int = Field(description="Tokens that the policy generated for this request.")
    reward_tokens: int = Field(description="Tokens submitted for scoring, or written by judges, for this request.")
    cost: float | None = Field(
        exclude_if=_absent, description="In the currency of the configured prices; absent without them."
    )


class MullReply(Reply):
    """How the answer was found. `usage` and `cost` are what it has cost, whoever paid; `spent` is this request's part.

    `cached`: it was kept from an earlier request.
    """

    strategy: str
    answer: str | None = Field(description="The first choice's answer, as it was written.")
    confidence: float | None = Field(description="That answer's share of all votes that were counted.")
    stopped_by: str = Field(
        description="`completed`; `decided` where no other candidate could change the answer any more, `decided_beta` "
        "where that was probable; the name of the budget that ran out; or `deadline`."
    )
    usage: MullUsage
    cost: float | None = Field(
        exclude_if=_absent, description="In the currency of the configured prices; absent without them."
    )
    warnings: list[str]
    votes: tuple[VoteResult, ...]
    candidates: tuple[CandidateResult, ...] | None = Field(
        exclude_if=_absent, description='All of them, best first, with `"include": ["candidates"]`.'
    )
    trace: tuple[dict[str, Any], ...] | None = Field(
        exclude_if=_absent, description='The records of the search, in order, with `"include": ["trace"]`.'
    )
    cached: bool
    cache: Source = Field(
        description="`hit`: kept from an earlier request. `coalesced`: found by an identical one that was in flight. "
        "`extended`: searched, from what earlier ones have left. `miss`: searched. `off`: searched, without a cache."
    )
    spent: Spent
    trace_id: str = Field(description="The request's id, also in the header x-request-id and in the logs.")
    seconds: float = Field(description="From the request's arrival at the gateway to its answer.")


class AssistantMessage(Reply):
    """The text of one choice."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Reply):
    """One of the best distinct answers, best first."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(Reply):
    """OpenAI's `chat.completion`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    mull: MullReply


class TextChoice(Reply):
    """One of the best distinct answers, best first."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class TextCompletion(Reply):
    """OpenAI's `text_completion`."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    mull: MullReply


class ErrorDetail(Reply):
    """What went wrong and what to do; `code` is the name of the error's class."""

    message: str
    type: str
    param: str | None
    code: str | None
    trace_id: str | None = Field(
        None, description="The request's id, also in the header x-request-id and in the logs; none of what is no HTTP."
    )


class ErrorBody(Reply):
    """The body of every answer that is not a 200."""

    error: ErrorDetail


def chat_completion(result: SearchResult, mull: MullReply, model: str) -> ChatCompletion:
    """Return a search's result as the answer to a chat."""
    choices = [
        ChatChoice(
            index=i,
            message=AssistantMessage(content=c.text),
            logprobs=chat_logprobs(c),
            finish_reason=c.finish_reason or "length",
        )
        for i, c in enumerate(result.choices)
    ]
    return ChatCompletion(
        id=f"chatcmpl-{mull.trace_id}",
        created=int(time.time()),
        model=model,
        choices=choices,
        usage=openai_usage(result.usage),
        mull=mull,
    )


def text_completion(result: SearchResult, mull: MullReply, model: str) -> TextCompletion:
    """Return a search's result as the continuation of a text."""
    choices = [
        TextChoice(index=i, text=c.text, logprobs=text_logprobs(c), finish_reason=c.finish_reason or "length")
        for i, c in enumerate(result.choices)
    ]
    return TextCompletion(
        id=f"cmpl-{mull.trace_id}",
        created=int(time.time()),
        model=model,
        choices=choices,
        usage=openai_usage(result.usage),
        mull=mull,
    )


def mull_reply(found: Found, plan: Plan, settings: Settings, *, trace_id: str, seconds: float) -> MullReply:
    """Return what Mull adds to OpenAI's body."""
    result, spent = found.result, found.spent
    return MullReply(
        strategy=plan.request.strategy.name,
        answer=result.choices[0].answer,
        confidence=result.confidence,
        stopped_by=result.stopped_by,
        usage=MullUsage(policy=result.usage.policy, reward=result.usage.reward),
        cost=cost(result.usage, plan.request.model, settings),
        warnings=[*plan.warnings, *result.warnings],
        votes=result.votes,
        candidates=result.candidates if plan.show_candidates else None,
        trace=result.trace,
        cached=found.source == "hit",
        cache=found.source,
        spent=Spent(
            policy_tokens=spent.policy.kept + spent.policy.discarded,
            reward_tokens=spent.reward.submitted + spent.reward.generated,
            cost=cost(spent, plan.request.model, settings),
        ),
        trace_id=trace_id,
        seconds=round(seconds, 3),
    )


def openai_usage(usage: SearchUsage) -> Usage:
    """Return a search's policy tokens in OpenAI's terms."""
    policy = usage.policy
    generated = policy.kept + policy.discarded
    once = policy.cached is not None and policy.prompt == usage.prompt
    return Usage(
        prompt_tokens=usage.prompt,
        completion_tokens=generated,
        total_tokens=usage.prompt + generated,
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=policy.discarded),
        prompt_tokens_details=PromptTokensDetails(cached_tokens=policy.cached or 0) if once else None,
    )

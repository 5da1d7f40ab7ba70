"""From what a client asks to one search: defaults filled in, the operator's limits applied, contradictions refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from service.errors import InvalidRequest, QuestionTooLong
from service.gateway.constrained import constraint_of
from service.gateway.explain import explain
from service.gateway.schema import Ask, ChatAsk, ChatMessage, CompletionAsk
from service.gateway.unsupported import without_off_values
from service.gateway.way import known_name, template_kwargs, way_of
from service.public_model import lower
from service.search.check import check_constraint, check_logprobs, check_min_tokens, check_sampling, check_strategy
from service.search.constraint import usual_kind
from service.search.request import Message, SamplingSpec, SearchRequest
from service.settings import Limits, PolicySettings, Settings
from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """One search to be made, how long it may take, and how its answer is shown.

    `name` is the model as the client calls it, which may be an alias; `dry`: it is not to be made, only told.
    """

    request: SearchRequest
    name: str
    dry: bool
    deadline_s: float
    show_candidates: bool
    warnings: tuple[str, ...]


def plan(data: Mapping[str, Any], kind: type[Ask], settings: Settings) -> Plan:
    """Check a request body of one `kind` and return the search it asks for.

    Raises `InvalidRequest` (or its children `UnknownModel`, `QuestionTooLong`) that says what to change.
    """
    try:
        ask = kind.model_validate(without_off_values(data), strict=True)
    except ValidationError as error:
        raise explain(error, kind) from None
    _check_dry(ask)
    named = known_name(ask.model, settings)
    way = way_of(ask, named)
    strategy = way.strategy
    _check_size(strategy, settings.limits)
    policy = settings.policies[named.model.policy]
    reward = settings.reward_of(named.base)
    reads = reward.family.reads if reward is not None else None
    constraint = constraint_of(ask.response_format, ask.structured_outputs)
    check_constraint(strategy, constraint)
    answer = ask.mull.answer or usual_kind(constraint)
    score = check_strategy(strategy, way.score, model=ask.model, reads=reads, returned=ask.n or 1, answer=answer)
    sampling, warnings = check_sampling(strategy, _sampling(ask))
    budget = lower(ask.mull.budget, way.budget)
    check_deadline(budget.deadline_ms, settings.limits)
    cap = _token_cap(ask)
    _check_cap(cap, settings.limits)
    _check_tokens(ask, strategy, score, cap, policy)
    request = SearchRequest(
        model=named.base,
        messages=_messages(ask, settings.limits),
        prompt=_prompt(ask, settings.limits),
        max_completion_tokens=cap,
        sampling=sampling,
        chat_template_kwargs=template_kwargs(ask, named.model),
        logprobs=ask.wanted_logprobs,
        seed=ask.seed or 0,
        n=ask.n or 1,
        strategy=strategy,
        score=score,
        answer=answer,
        constraint=constraint,
        budget=budget,
        trace="trace" in ask.mull.include,
    )
    deadline_ms = budget.deadline_ms or settings.limits.default_deadline_ms
    show_candidates = "candidates" in ask.mull.include
    return Plan(request, ask.model, ask.mull.dry_run, deadline_ms / 1000, show_candidates, warnings)


def check_deadline(deadline_ms: int | None, limits: Limits) -> None:
    """Raise `InvalidRequest` for a deadline that this server does not allow."""
    if deadline_ms is not None and deadline_ms > limits.deadline_ms:
        raise InvalidRequest(
            f"A deadline of {deadline_ms} ms is later than this server allows: {limits.deadline_ms} ms.",
            hint="Ask for less, or raise limits.deadline_ms.",
            param="mull.budget.deadline_ms",
        )


def check_question(question: str, length: int, param: str, limits: Limits) -> None:
    """Raise `InvalidRequest` for an empty question, `QuestionTooLong` for one of too many characters (`length`)."""
    if not question.strip():
        raise InvalidRequest("The question is empty.", hint="Write what is to be solved.", param=param)
    if length > limits.question_chars:
        raise QuestionTooLong(
            f"{length} characters are more than this server reads: {limits.question_chars}.",
            hint="Shorten the question, or raise limits.question_chars.",
            param=param,
        )


def _check_size(strategy: StrategySpec, limits: Limits) -> None:
    if strategy.candidates > limits.samples:
        raise InvalidRequest(
            f"{strategy.name} would start {strategy.candidates} candidates, more than this server allows: "
            f"{limits.samples}.",
            hint="Ask for fewer, or raise limits.samples.",
            param="mull.strategy.samples" if "samples" in type(strategy).model_fields else "mull.strategy",
        )


def _check_cap(cap: int | None, limits: Limits) -> None:
    if cap is not None and cap > limits.max_tokens:
        raise InvalidRequest(
            f"{cap} tokens for one candidate are more than this server allows: {limits.max_tokens}.",
            hint="Ask for less, or raise limits.max_tokens.",
            param="max_completion_tokens",
        )


def _sampling(ask: Ask) -> SamplingSpec:
    return SamplingSpec(**{field: getattr(ask, field) for field in SamplingSpec.model_fields})


def _check_dry(ask: Ask) -> None:
    if ask.mull.dry_run and ask.stream:
        raise InvalidRequest(
            "A dry run has one answer, at once: there is nothing to stream.",
            hint="Leave `stream` out, or `mull.dry_run`.",
            param="mull.dry_run",
        )


def _check_tokens(ask: Ask, strategy: StrategySpec, score: ScoreSpec, cap: int | None, policy: PolicySettings) -> None:
    """Raise `InvalidRequest` for what is asked of tokens, where it cannot be had."""
    most = cap or policy.sampling.max_tokens
    check_min_tokens(ask.min_tokens, most)
    if isinstance(ask, ChatAsk) and ask.top_logprobs is not None and not ask.logprobs and ask.top_logprobs > 0:
        raise InvalidRequest(
            "`top_logprobs` is for answers with `logprobs`.", hint="Send `logprobs: true` too.", param="top_logprobs"
        )
    check_logprobs(strategy, score, ask.wanted_logprobs, most)


def _token_cap(ask: Ask) -> int | None:
    if isinstance(ask, ChatAsk) and ask.max_completion_tokens is not None:
        if ask.max_tokens not in (None, ask.max_completion_tokens):
            raise InvalidRequest(
                f"max_completion_tokens is {ask.max_completion_tokens}, max_tokens {ask.max_tokens}.",
                hint="They mean the same: send one of them.",
                param="max_tokens",
            )
        return ask.max_completion_tokens
    return ask.max_tokens


def _messages(ask: Ask, limits: Limits) -> tuple[Message, ...]:
    if not isinstance(ask, ChatAsk):
        return ()
    last = ask.messages[-1]
    if last.role != "user":
        raise InvalidRequest(
            f"The last message is the {last.role}'s.", hint="End with the user's question.", param="messages"
        )
    check_question(last.content, sum(len(m.content) for m in ask.messages), "messages", limits)
    return tuple(_message(m) for m in ask.messages)


def _message(message: ChatMessage) -> Message:
    """OpenAI's `developer` is what chat templates call `system`."""
    role = "system" if message.role == "developer" else message.role
    return Message(role=role, content=message.content)


def _prompt(ask: Ask, limits: Limits) -> str | None:
    if not isinstance(ask, CompletionAsk):
        return None
    check_question(ask.prompt, len(ask.prompt), "prompt", limits)
    return ask.prompt

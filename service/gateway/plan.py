"""From what a client asks to one search: defaults filled in, the operator's limits applied, contradictions refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.errors import InvalidRequest, QuestionTooLong, UnknownModel
from service.gateway.explain import explain
from service.gateway.schema import Ask, ChatAsk, ChatMessage, CompletionAsk
from service.gateway.unsupported import without_off_values
from service.search.check import check_sampling, check_strategy
from service.search.request import Message, SamplingSpec, SearchRequest
from service.settings import Effort, Limits, PublicModel, ReasoningEffort, Settings
from strategies.registry import StrategySpec

_specs: TypeAdapter[StrategySpec] = TypeAdapter(StrategySpec)


@dataclass(frozen=True, slots=True)
class Plan:
    """One search to be made, how long it may take, and how its answer is shown."""

    request: SearchRequest
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
    model = known_model(ask.model, settings)
    strategy = _strategy(ask, model)
    _check_size(strategy, settings.limits)
    reward = settings.reward_of(ask.model)
    reads = reward.family.reads if reward is not None else None
    score = check_strategy(strategy, ask.mull.score, model=ask.model, reads=reads, returned=ask.n or 1)
    sampling, warnings = check_sampling(strategy, _sampling(ask))
    budget = ask.mull.budget
    check_deadline(budget.deadline_ms, settings.limits)
    request = SearchRequest(
        model=ask.model,
        messages=_messages(ask, settings.limits),
        prompt=_prompt(ask, settings.limits),
        max_completion_tokens=_token_cap(ask),
        sampling=sampling,
        seed=ask.seed or 0,
        n=ask.n or 1,
        strategy=strategy,
        score=score,
        budget=budget,
        trace="trace" in ask.mull.include,
    )
    deadline_ms = budget.deadline_ms or settings.limits.default_deadline_ms
    return Plan(request, deadline_ms / 1000, "candidates" in ask.mull.include, warnings)


def known_model(name: str, settings: Settings) -> PublicModel:
    """Return the public model of that name; raises `UnknownModel`."""
    model = settings.models.get(name)
    if model is None:
        known = ", ".join(settings.models)
        raise UnknownModel(f"There is no model {name!r}.", hint=f"Known: {known}.", param="model")
    return model


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


def _strategy(ask: Ask, model: PublicModel) -> StrategySpec:
    if ask.mull.strategy is not None:
        if ask.effort is not None:
            raise InvalidRequest(
                "`mull.strategy` and `reasoning_effort` both say how to search.",
                hint="Send one of them.",
                param="reasoning_effort",
            )
        return ask.mull.strategy
    name = ask.effort or model.default_effort
    return _specs.validate_python({"name": "sample"}) if name is None else _bought(name, model)


def _bought(name: ReasoningEffort, model: PublicModel) -> StrategySpec:
    effort: Effort | None = model.efforts.get(name)
    if effort is None:
        known = ", ".join(model.efforts)
        raise InvalidRequest(f"This model has no effort {name!r}.", hint=f"Known: {known}.", param="reasoning_effort")
    samples = {} if effort.samples is None else {"samples": effort.samples}
    return _specs.validate_python({"name": effort.strategy, **samples})


def _check_size(strategy: StrategySpec, limits: Limits) -> None:
    if strategy.candidates > limits.samples:
        raise InvalidRequest(
            f"{strategy.name} would start {strategy.candidates} candidates, more than this server allows: "
            f"{limits.samples}.",
            hint="Ask for fewer, or raise limits.samples.",
            param="mull.strategy.samples" if "samples" in type(strategy).model_fields else "mull.strategy",
        )


def _sampling(ask: Ask) -> SamplingSpec:
    return SamplingSpec(
        temperature=ask.temperature, top_p=ask.top_p, top_k=ask.top_k, min_p=ask.min_p, stop=tuple(ask.stop or ())
    )


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

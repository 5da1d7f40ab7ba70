"""How a request is searched: by its own strategy, an effort that it names, or as its model's name says."""

from dataclasses import dataclass
from typing import Any

from service.errors import InvalidRequest, UnknownModel
from service.gateway.schema import Ask, ChatAsk
from service.public_model import Effort, PublicModel, ReasoningEffort
from service.settings import Settings
from strategies.sample import SampleOne

FORWARDED = "reasoning_effort"
"""The variable by which chat templates know how much to think."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a client's `model` stands for; `fixed` is how an alias has it searched."""

    name: str
    base: str
    model: PublicModel
    fixed: Effort | None


def known_name(name: str, settings: Settings) -> Named:
    """Return the model that goes by that name, or has it as an alias; raises `UnknownModel`."""
    found = settings.named(name)
    if found is None:
        known = ", ".join([*settings.models, *(alias for m in settings.models.values() for alias in m.aliases)])
        raise UnknownModel(f"There is no model {name!r}.", hint=f"Known: {known}.", param="model")
    base, fixed = found
    return Named(name, base, settings.models[base], fixed)


def way_of(ask: Ask, named: Named) -> Effort:
    """Return the way to search that `ask` chooses; raises `InvalidRequest` for two of them, or an unknown one."""
    searches = ask.effort if named.model.effort == "search" else None
    if named.fixed is not None:
        return _fixed(ask, named, named.fixed, searches)
    if ask.mull.strategy is not None:
        if searches is not None:
            raise InvalidRequest(
                "`mull.strategy` and `reasoning_effort` both say how to search.",
                hint="Send one of them.",
                param="reasoning_effort",
            )
        return Effort(strategy=ask.mull.strategy, score=ask.mull.score)
    name = searches or named.model.default_effort
    way = Effort(strategy=SampleOne()) if name is None else _bought(name, named.model)
    return way if ask.mull.score is None else way.model_copy(update={"score": ask.mull.score})


def template_kwargs(ask: Ask, model: PublicModel) -> dict[str, Any]:
    """Return what the policy's chat template is given; raises `InvalidRequest` for two different efforts."""
    if not isinstance(ask, ChatAsk):
        return {}
    given = dict(ask.chat_template_kwargs or {})
    if model.effort != "forward" or ask.reasoning_effort is None:
        return given
    if given.setdefault(FORWARDED, ask.reasoning_effort) != ask.reasoning_effort:
        raise InvalidRequest(
            "`reasoning_effort` and `chat_template_kwargs.reasoning_effort` differ.",
            hint="They mean the same for this model: send one of them.",
            param="reasoning_effort",
        )
    return given


def _fixed(ask: Ask, named: Named, fixed: Effort, effort: ReasoningEffort | None) -> Effort:
    chosen = {"mull.strategy": ask.mull.strategy, "reasoning_effort": effort, "mull.score": ask.mull.score}
    for field, value in chosen.items():
        if value is not None:
            raise InvalidRequest(
                f"The name {named.name!r} already says how to search.",
                hint=f"Leave `{field}` out, or ask for the model {named.base!r}.",
                param=field,
            )
    return fixed


def _bought(name: ReasoningEffort, model: PublicModel) -> Effort:
    effort = model.efforts.get(name)
    if effort is None:
        known = ", ".join(model.efforts)
        raise InvalidRequest(f"This model has no effort {name!r}.", hint=f"Known: {known}.", param="reasoning_effort")
    return effort

"""GET /v1/models: the names that can be asked for, and what stands behind each."""

import asyncio
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from reward_models.protocol import Reads
from service.errors import InvalidRequest, MullError
from service.gateway.reply import Reply
from service.gateway.way import Named, known_name
from service.gateway.workers import Workers
from service.public_model import Effort, ReasoningEffort
from service.search.check import check_strategy
from service.settings import RewardSettings, Settings
from strategies.registry import STRATEGIES
from strategies.sample import SampleOne

LONGEST_S = 2.0
"""How long a list of models waits for what only the engines know."""


class RewardModelCard(Reply):
    """A reward model. `reads`: what one request of it reads, a step, a whole solution, or one score for an answer."""

    name: str
    family: str
    reads: Reads


class Capabilities(Reply):
    """What a model can be asked for, beside what every model can."""

    policy: str = Field(description="The policy's name in the configuration.")
    reward_model: RewardModelCard | None
    reasoning_effort: Literal["search", "forward", "fixed"] = Field(
        description="What the field does: it chooses one of `efforts`; the policy's chat template is given it; or it "
        "is refused, since the name itself says how to search."
    )
    efforts: dict[ReasoningEffort, Effort] = Field(description="What each effort buys; empty where it buys nothing.")
    default: Effort = Field(description="How a request is searched that does not say how.")
    strategies: list[str] = Field(description="What `mull.strategy` may be without `mull.score`, with its defaults.")
    context: int | None = Field(
        description="Most tokens of prompt and candidate together; null while the policy's engine does not tell."
    )
    max_tokens: int = Field(description="Most tokens of a candidate where the request does not say.")


class ModelCard(Reply):
    """OpenAI's `model`, and Mull's own object `mull` beside it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["mull"] = "mull"
    parent: str | None = Field(description="The model of which this name is an alias.")
    mull: Capabilities


class ModelList(Reply):
    """All names, aliases after their model."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


async def contexts(workers: Workers) -> Mapping[str, int]:
    """Return how many tokens the policies take, those that can be known soon."""
    try:
        async with asyncio.timeout(LONGEST_S):
            return await workers.contexts()
    except (MullError, TimeoutError):
        return {}


def model_list(settings: Settings, contexts: Mapping[str, int], created: int) -> ModelList:
    """Return all models; `created` is the time of all of them, in seconds since 1970: the gateway's start."""
    names = [name for base, model in settings.models.items() for name in (base, *model.aliases)]
    return ModelList(data=[model_card(name, settings, contexts, created) for name in names])


def model_card(name: str, settings: Settings, contexts: Mapping[str, int], created: int) -> ModelCard:
    """Return one model; raises `UnknownModel`."""
    named = known_name(name, settings)
    return ModelCard(
        id=name,
        created=created,
        parent=named.base if named.fixed is not None else None,
        mull=_capabilities(named, settings, contexts.get(settings.models[named.base].policy)),
    )


def _capabilities(named: Named, settings: Settings, context: int | None) -> Capabilities:
    model = named.model
    reward = settings.reward_of(named.base)
    searches = named.fixed is None and model.effort == "search"
    default = model.efforts[model.default_effort] if model.default_effort is not None else Effort(strategy=SampleOne())
    return Capabilities(
        policy=model.policy,
        reward_model=None if reward is None or model.reward is None else _reward_card(model.reward, reward),
        reasoning_effort="fixed" if named.fixed is not None else model.effort,
        efforts=model.efforts if searches else {},
        default=named.fixed or default,
        strategies=[] if named.fixed is not None else _strategies(named, reward),
        context=context,
        max_tokens=settings.policies[model.policy].sampling.max_tokens,
    )


def _reward_card(name: str, reward: RewardSettings) -> RewardModelCard:
    return RewardModelCard(name=name, family=reward.family.name, reads=reward.family.reads)


def _strategies(named: Named, reward: RewardSettings | None) -> list[str]:
    """Return the strategies that work as they are; others may work by the policy's own log-probabilities."""
    reads = reward.family.reads if reward is not None else None
    works = []
    for name, kind in STRATEGIES.items():
        try:
            check_strategy(kind.model_validate({"name": name}), None, model=named.name, reads=reads, returned=1)
        except InvalidRequest:
            continue
        works.append(name)
    return works

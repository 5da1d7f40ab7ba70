"""GET /v1/strategies: every strategy with its parameters, its paper, and what it can be expected to cost."""

import inspect
import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema

from service.errors import InvalidRequest
from service.gateway.explain import explain
from service.gateway.reply import Reply
from service.gateway.schema import Body
from strategies.cost import Cost, Lengths
from strategies.registry import STRATEGIES
from strategies.spec import ScoreSpec, Spec

Limit = Literal["policy_tokens", "reward_tokens"]

_STEP_TOKENS = 32
_NOTE = (
    "Estimates from assumed lengths, for the default parameters and with nothing cut short: early stopping and merged "
    "duplicates make a search cheaper, longer questions and solutions dearer."
)
_SOURCES = ("reward_model", "mean_logprob", "self_certainty@20")


class CatalogueAsk(Body):
    """Query of GET /v1/strategies: a budget to cut the estimates to, and the lengths they are made from."""

    policy_tokens: int | None = Field(None, ge=1, description="Budget: most tokens the policy may generate.")
    reward_tokens: int | None = Field(None, ge=1, description="Budget: most tokens that may be submitted for scoring.")
    prompt_tokens: int = Field(128, ge=1, le=100_000, description="Assumed length of the question's prompt.")
    candidate_tokens: int = Field(512, ge=1, le=100_000, description="Assumed length of one whole solution.")
    step_tokens: int | None = Field(
        None, ge=1, description=f"Assumed length of one step; default: {_STEP_TOKENS}, or a shorter solution's."
    )

    @field_validator("step_tokens")
    @classmethod
    def _fits(cls, step: int | None, info: ValidationInfo) -> int | None:
        whole = info.data.get("candidate_tokens")
        if step is not None and whole is not None and step > whole:
            raise ValueError(f"a step is not longer than a solution, candidate_tokens ({whole})")
        return step

    @property
    def lengths(self) -> Lengths:
        """What is assumed."""
        step = min(_STEP_TOKENS, self.candidate_tokens) if self.step_tokens is None else self.step_tokens
        return Lengths(self.prompt_tokens, self.candidate_tokens, step)

    @property
    def limits(self) -> dict[Limit, int]:
        """The budget, as far as there is one."""
        given: dict[Limit, int | None] = {"policy_tokens": self.policy_tokens, "reward_tokens": self.reward_tokens}
        return {name: limit for name, limit in given.items() if limit is not None}


class Estimate(Reply):
    """Expected tokens of one search; `candidates` is how many whole solutions the policy tokens are enough for."""

    policy_tokens: int
    reward_tokens: int
    candidates: int


class CutEstimate(Estimate):
    """The estimate within the given budget: what is spent when the first of its limits runs out.

    Both kinds of tokens are taken to be spent in proportion. A limit on reward tokens ends the scoring, after which
    whole candidates that are being written still come to their end.
    """

    stopped_by: Limit | None = Field(description="The limit that runs out first; null where the budget is enough.")


class StrategyEntry(Reply):
    """One strategy: what to send as `mull.strategy`, and what to expect."""

    name: str
    object: Literal["strategy"] = "strategy"
    description: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the parameters beside `name`.")
    defaults: dict[str, Any] = Field(description="The value of every parameter that is not given.")
    needs_reward_model: bool = Field(description="Whether it needs one as long as `mull.score` is not given.")
    score_sources: list[str] = Field(
        description="What `mull.score.source` may be, 20 being any k from 1 to 20; empty where nothing is scored."
    )
    paper: str | None
    cost: Estimate
    within_budget: CutEstimate | None = Field(
        exclude_if=lambda value: value is None, description="There where the query has a budget."
    )


class Assumed(Reply):
    """The lengths that the estimates are made from, in tokens."""

    prompt_tokens: int
    candidate_tokens: int
    step_tokens: int


class Catalogue(Reply):
    """All strategies, in the registry's order."""

    object: Literal["list"] = "list"
    data: list[StrategyEntry]
    assuming: Assumed
    note: str = _NOTE


class _Schema(GenerateJsonSchema):
    """Without titles: they only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def asked(query: Iterable[tuple[str, str]]) -> CatalogueAsk:
    """Return what a query string asks for; raises `InvalidRequest` for what is unknown, repeated or out of bounds."""
    fields: dict[str, str] = {}
    for key, value in query:
        if key in fields:
            raise InvalidRequest(f"`{key}` is given twice.", hint="Send it once.", param=key)
        fields[key] = value
    try:
        return CatalogueAsk.model_validate(fields)
    except ValidationError as error:
        raise explain(error, CatalogueAsk) from None


def catalogue(ask: CatalogueAsk) -> Catalogue:
    """Return all strategies with their cost under `ask`'s lengths and budget."""
    lengths = ask.lengths
    return Catalogue(
        data=[_entry(kind, lengths, ask.limits) for kind in STRATEGIES.values()],
        assuming=Assumed(prompt_tokens=lengths.prompt, candidate_tokens=lengths.candidate, step_tokens=lengths.step),
    )


def within(cost: Cost, limits: dict[Limit, int], lengths: Lengths) -> CutEstimate:
    """Return what is spent of `cost` until the first of `limits` runs out."""
    whole: dict[Limit, int] = {"policy_tokens": cost.policy_tokens, "reward_tokens": cost.reward_tokens}
    part, out_of, stopped_by = 1, 1, None
    for name, limit in limits.items():
        # The share of the search that the limit is enough for is limit / whole: compared without rounding.
        if limit * out_of < part * whole[name]:
            part, out_of, stopped_by = limit, whole[name], name
    policy, reward = (tokens * part // out_of for tokens in whole.values())
    return CutEstimate(
        policy_tokens=policy, reward_tokens=reward, candidates=policy // lengths.candidate, stopped_by=stopped_by
    )


def _entry(kind: type[Spec], lengths: Lengths, limits: dict[Limit, int]) -> StrategyEntry:
    spec = kind.model_validate({"name": kind.model_fields["name"].default})
    cost = spec.cost(lengths)
    return StrategyEntry(
        name=spec.name,
        description=first_sentence(inspect.getdoc(kind) or ""),
        parameters=_parameters(kind),
        defaults=spec.model_dump(mode="json", exclude={"name"}),
        needs_reward_model=spec.needs_scores and ScoreSpec().needs_reward_model,
        score_sources=[source for source in _SOURCES if spec.needs_scores and _takes(spec, source)],
        paper=kind.paper,
        cost=Estimate(
            policy_tokens=cost.policy_tokens,
            reward_tokens=cost.reward_tokens,
            candidates=cost.policy_tokens // lengths.candidate,
        ),
        within_budget=within(cost, limits, lengths) if limits else None,
    )


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring in one line."""
    return re.split(r"(?<=\.)\s+(?=[A-Z`(])|\n\n", text, maxsplit=1)[0].replace("\n", " ")


def _parameters(kind: type[Spec]) -> dict[str, Any]:
    schema = kind.model_json_schema(schema_generator=_Schema)
    properties = {name: field for name, field in schema["properties"].items() if name != "name"}
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **definitions}


def _takes(spec: Spec, source: str) -> bool:
    try:
        spec.build(ScoreSpec(source=source))
    except ValueError:
        return False
    return True
